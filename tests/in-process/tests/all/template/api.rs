//! The gateway: routes, who may call what, throttles, access logs, the custom domain.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::yaml::{Template, alias, arn, reference};

/// The integration that a route leads to.
fn target(route: &Value) -> String {
    let target = route["Target"]["Fn::Sub"].as_str().unwrap();
    target.strip_prefix("integrations/${").unwrap().strip_suffix('}').unwrap().to_owned()
}

#[test]
fn every_route_leads_to_a_function_that_the_gateway_may_call() {
    let template = Template::new();
    let integrations = template.of_type("AWS::ApiGatewayV2::Integration");
    let mut permissions = template.of_type("AWS::Lambda::Permission");
    permissions.retain(|_, permission| permission["Principal"] == "apigateway.amazonaws.com");
    let mut called = BTreeSet::new();
    for (name, route) in template.of_type("AWS::ApiGatewayV2::Route") {
        assert_eq!(route["ApiId"], reference("Api"), "{name}");
        let integration = integrations[target(route).as_str()];
        let function = integration["IntegrationUri"]["Ref"].as_str().and_then(|name| name.strip_suffix(".Alias"));
        let function = function.unwrap_or_else(|| panic!("{name}: {}", integration["IntegrationUri"]));
        let expected = json!({
            "ApiId": reference("Api"), "IntegrationType": "AWS_PROXY",
            "IntegrationUri": alias(function), "PayloadFormatVersion": "2.0",
        });
        assert_eq!(integration, &expected, "{name}");
        let may_call = permissions.values().any(|permission| {
            let source = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*";
            permission["FunctionName"] == alias(function)
                && permission["Action"] == "lambda:InvokeFunction"
                // Otherwise anybody's gateway could call it.
                && permission["SourceArn"] == json!({ "Fn::Sub": source })
        });
        assert!(may_call, "{name}: the gateway may not call {function}");
        called.insert(function);
    }
    assert_eq!(called.len(), integrations.len());
    assert_eq!(called.len(), permissions.len());
}

#[test]
fn whoever_has_no_key_is_throttled_first() {
    let template = Template::with(&[("ThrottlingRate", "600"), ("ThrottlingBurst", "900")]);
    let stage = template.properties("ApiStage");
    let by_default =
        json!({"ThrottlingRateLimit": "600", "ThrottlingBurstLimit": "900", "DetailedMetricsEnabled": false});
    assert_eq!(stage["DefaultRouteSettings"], by_default);
    let keys: BTreeSet<_> = template
        .of_type("AWS::ApiGatewayV2::Route")
        .into_values()
        .map(|route| route["RouteKey"].as_str().unwrap())
        .collect();
    for (route, settings) in stage["RouteSettings"].as_object().unwrap() {
        assert!(keys.contains(route.as_str()), "there is no route {route}");
        // A route's settings replace the default ones wholly: without a limit there is none.
        let limit = |name: &str| settings[name].as_u64().unwrap();
        assert!((1..=20).contains(&limit("ThrottlingRateLimit")), "{route}");
        assert!((1..=40).contains(&limit("ThrottlingBurstLimit")), "{route}");
    }
    for route in ["$default", "ANY /health"] {
        assert!(stage["RouteSettings"][route].is_object(), "{route}");
    }
}

#[test]
fn metrics_of_each_route_can_be_had() {
    for (parameter, expected) in [("false", false), ("true", true)] {
        let template = Template::with(&[("DetailedMetrics", parameter)]);
        let stage = template.properties("ApiStage");
        assert_eq!(stage["DefaultRouteSettings"]["DetailedMetricsEnabled"], expected);
        // A boolean, and not the parameter's text: CloudFormation does not convert what a route's settings hold.
        for (route, settings) in stage["RouteSettings"].as_object().unwrap() {
            assert_eq!(settings["DetailedMetricsEnabled"], expected, "{route}");
        }
    }
}

#[test]
fn the_stage_is_deployed_after_all_routes() {
    let template = Template::new();
    let stage = template.resource("ApiStage");
    assert_eq!(
        (&stage["Properties"]["AutoDeploy"], &stage["Properties"]["StageName"]),
        (&json!(true), &json!("$default"))
    );
    let waits_for: BTreeSet<_> =
        stage["DependsOn"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(waits_for, template.of_type("AWS::ApiGatewayV2::Route").into_keys().collect());
}

#[test]
fn access_logs_are_json_without_headers_queries_and_paths() {
    let template = Template::new();
    let settings = &template.properties("ApiStage")["AccessLogSettings"];
    assert_eq!(settings["DestinationArn"], arn("AccessLogs"));
    let group = template.properties("AccessLogs");
    // Below this prefix the log delivery needs no resource policy of its own.
    assert_eq!(group["LogGroupName"], json!({"Fn::Sub": "/aws/vendedlogs/${AWS::StackName}-access"}));
    let format = settings["Format"].as_str().unwrap();
    assert!(!format.contains('\n'), "a line each");
    let fields: Value = serde_json::from_str(format).unwrap();
    let variables: BTreeSet<_> = fields.as_object().unwrap().values().map(|value| value.as_str().unwrap()).collect();
    let expected = [
        "$context.error.message",
        "$context.httpMethod",
        "$context.identity.sourceIp",
        "$context.integration.requestId",
        "$context.integration.status",
        "$context.integrationErrorMessage",
        "$context.requestId",
        "$context.requestTimeEpoch",
        "$context.responseLatency",
        "$context.responseLength",
        "$context.routeKey",
        "$context.status",
    ];
    assert_eq!(variables.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_custom_domain_replaces_the_default_endpoint() {
    let without = Template::new();
    assert_eq!(without.properties("Api")["DisableExecuteApiEndpoint"], false);
    assert!(!without.resources.contains_key("CustomDomain"));
    let certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/example";
    let with = Template::with(&[("DomainName", "api.example.org"), ("CertificateArn", certificate)]);
    assert_eq!(with.properties("Api")["DisableExecuteApiEndpoint"], true);
    let domain = with.properties("CustomDomain");
    assert_eq!(domain["DomainName"], "api.example.org");
    let configuration =
        json!([{"CertificateArn": certificate, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2"}]);
    assert_eq!(domain["DomainNameConfigurations"], configuration);
    let mapping =
        json!({"ApiId": reference("Api"), "DomainName": reference("CustomDomain"), "Stage": reference("ApiStage")});
    assert_eq!(with.properties("CustomDomainMapping"), &mapping);
    assert_eq!(with.outputs["ApiUrl"]["Value"], json!({"Fn::Sub": "https://${DomainName}"}));
    assert_eq!(without.outputs["ApiUrl"]["Value"], json!({"Fn::GetAtt": ["Api", "ApiEndpoint"]}));
}
