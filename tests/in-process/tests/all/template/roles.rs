//! Roles: each function has its own, which allows what the function does and nothing else. That nothing allowed is
//! idle is shown by `local/permissions.py`; that nothing too wide slips in, here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::KEY;
use super::yaml::{TABLE_ARN, TABLES, Template, arn, listed, reference, table, texts};

/// What a document allows: each action on each resource, as "action on resource".
pub(crate) fn allowed(document: &Value) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for statement in document["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        for action in listed(&statement["Action"]) {
            for resource in listed(&statement["Resource"]) {
                allowed.insert(format!("{} on {}", action.as_str().unwrap(), place(resource)));
            }
        }
    }
    allowed
}

fn place(resource: &Value) -> String {
    match resource {
        Value::String(name) => name.clone(),
        Value::Object(_) => match (&resource["Fn::GetAtt"], &resource["Fn::Sub"], &resource["Ref"]) {
            (Value::Array(path), _, _) => path[0].as_str().unwrap().to_owned(),
            (_, Value::String(text), _) if text.ends_with(":stack/${AWS::StackName}/*") => "the stack".to_owned(),
            (_, Value::String(text), _) if text.ends_with(":function:${AWS::StackName}-*") => "functions".to_owned(),
            (_, Value::String(text), _) if text.starts_with(TABLE_ARN) => {
                let [(logical, name)] = TABLES
                    .iter()
                    .filter_map(|(logical, _)| Some((logical, table(logical)?)))
                    .filter(|(_, name)| text[TABLE_ARN.len()..].starts_with(name))
                    .collect::<Vec<_>>()
                    .try_into()
                    .unwrap();
                text[TABLE_ARN.len()..].replacen(&name, logical, 1)
            }
            (_, Value::String(text), _) => text.replace("${", "").replace(".Arn}", ""),
            (_, _, Value::String(name)) => name.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other}"),
    }
}

/// What each role's own policy allows.
fn roles(template: &Template) -> BTreeMap<&str, BTreeSet<String>> {
    let roles = template.of_type("AWS::IAM::Role").into_iter();
    roles.map(|(name, role)| (name, allowed(&role["Policies"][0]["PolicyDocument"]))).collect()
}

#[test]
fn roles_reach_what_they_need_and_no_more() {
    let template = Template::new();
    let roles = roles(&template);
    let functions = template.of_type("AWS::Serverless::Function");
    assert_eq!(roles.len(), functions.len(), "one role a function");
    for (name, function) in functions {
        let role = name.replace("Function", "Role");
        assert_eq!(function["Role"], arn(&role));
        assert!(function["Policies"].is_null(), "{name}: SAM's policies also allow all log groups");
    }
    for (name, allowed) in &roles {
        let properties = template.properties(name);
        assert!(properties["ManagedPolicyArns"].is_null(), "{name}");
        assert_eq!(properties["Policies"].as_array().unwrap().len(), 1, "{name}");
        for permission in allowed {
            let (action, resource) = permission.split_once(" on ").unwrap();
            assert!(!action.contains('*'), "{name}: {permission}");
            assert!(resource != "*" || action.starts_with("xray:Put"), "{name}: {permission}");
            assert!(!action.starts_with("dynamodb:Scan"), "{name}: {permission}");
            // A job and its files are deleted by its owner's call, and by the worker that clears away; records never.
            let deletes = ["CancelJobRole", "RunImportRole", "RunExportRole"].contains(name);
            match action {
                "dynamodb:DeleteItem" => assert!(deletes && resource == "JobsTable", "{name}: {permission}"),
                "s3:DeleteObject" => {
                    let kinds = match *name {
                        "RunImportRole" => ["reports/*", "chunks/*"],
                        "RunExportRole" => ["exports/*", "chunks/*"],
                        _ => ["/*"; 2],
                    };
                    assert!(deletes && kinds.iter().any(|kind| resource.ends_with(kind)), "{name}: {permission}");
                }
                _ => assert!(!action.contains("Delete") || action == "sqs:DeleteMessage", "{name}: {permission}"),
            }
        }
    }
    let reach = |role: &str, what: &str| roles[role].iter().any(|permission| permission.contains(what));
    let of_records: Vec<_> = roles.keys().filter(|role| reach(role, "RecordsTable")).collect();
    assert_eq!(of_records, [&"RunExportRole", &"RunImportRole"]);
    assert!(!reach("RunImportRole", "dynamodb:Query"), "an import reads no record");
    assert!(!reach("RunExportRole", "dynamodb:BatchWriteItem"), "an export writes none");
    assert!(!reach("GetJobRole", "imports/"), "the status function reads no import");
    assert!(!reach("GetJobRole", "s3:Put"));
    for nothing in ["JobsTable", "RecordsTable", "Bucket"] {
        assert!(!reach("ValidateRecordsRole", nothing) && !reach("GetLimitsRole", nothing), "{nothing}");
    }
    assert!(!reach("ListJobsRole", "Bucket") && !reach("ListJobsRole", "dynamodb:PutItem"));
    assert!(!reach("CancelJobRole", "s3:GetObject") && !reach("CancelJobRole", "s3:PutObject"), "it reads no file");
    for api in ["StartImportRole", "StartExportRole", "CreateUploadRole"] {
        assert!(!reach(api, "exports/") && !reach(api, "reports/"), "{api}");
    }
    let logs_only = ["logs:CreateLogStream on ApiLogs", "logs:PutLogEvents on ApiLogs"].map(str::to_owned);
    let traces = ["xray:PutTelemetryRecords on *", "xray:PutTraceSegments on *"].map(str::to_owned);
    assert_eq!(roles["FallbackRole"], logs_only.into_iter().chain(traces).collect());
}

#[test]
fn an_import_writes_single_items_into_the_change_log_only() {
    let template = Template::new();
    let document = &template.properties("RunImportRole")["Policies"][0]["PolicyDocument"]["Statement"];
    let puts: Vec<_> = listed(document)
        .into_iter()
        .filter(|statement| statement["Action"] == "dynamodb:PutItem" && statement["Resource"] == arn("RecordsTable"))
        .collect();
    let [put] = puts.as_slice() else { panic!("{puts:?}") };
    let only = json!({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["*#changes#*"]}});
    assert_eq!(put["Condition"], only);
}

#[test]
fn functions_write_what_tenants_use_and_never_their_plans() {
    let template = Template::new();
    let only = json!({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["*#usage"]}});
    for (name, role) in template.of_type("AWS::IAM::Role") {
        for statement in listed(&role["Policies"][0]["PolicyDocument"]["Statement"]) {
            let actions = texts(&statement["Action"]);
            let writes = actions.iter().any(|action| action.contains("Put") || action.contains("Update"));
            if statement["Resource"] == arn("UsageTable") && writes {
                assert_eq!(statement["Condition"], only, "{name}");
                assert!(actions.iter().all(|action| !action.contains("Get")), "{name}: plans are read");
            }
        }
    }
}

#[test]
fn only_a_prefix_of_the_bucket_can_be_listed() {
    let template = Template::new();
    for (name, role) in template.of_type("AWS::IAM::Role") {
        for statement in listed(&role["Policies"][0]["PolicyDocument"]["Statement"]) {
            let lists = listed(&statement["Action"]).contains(&&json!("s3:ListBucket"));
            assert_eq!(lists, !statement["Condition"]["StringLike"]["s3:prefix"].is_null(), "{name}");
        }
    }
}

#[test]
fn each_role_writes_its_own_log_group() {
    let template = Template::new();
    let roles = roles(&template);
    for name in template.of_type("AWS::Serverless::Function").into_keys() {
        let group = &template.of_function(name, "LoggingConfig")["LogGroup"]["Ref"];
        let allowed = &roles[name.replace("Function", "Role").as_str()];
        let of_logs: Vec<_> = allowed.iter().filter(|permission| permission.starts_with("logs:")).collect();
        let group = group.as_str().unwrap();
        assert_eq!(of_logs, [&format!("logs:CreateLogStream on {group}"), &format!("logs:PutLogEvents on {group}")]);
    }
}

#[test]
fn a_permissions_boundary_is_on_every_role() {
    let boundary = "arn:aws:iam::123456789012:policy/boundary";
    let deployment = ("Deployment", "Canary10Percent5Minutes");
    let without = Template::with(&[deployment]);
    let with = Template::with(&[deployment, ("PermissionsBoundaryArn", boundary)]);
    for (name, role) in with.of_type("AWS::IAM::Role") {
        assert_eq!(role["PermissionsBoundary"], boundary, "{name}");
        assert!(without.properties(name)["PermissionsBoundary"].is_null(), "{name}");
    }
}

#[test]
fn a_key_of_the_customer_can_be_used_by_whoever_reads_or_writes() {
    let template = Template::with(&[("KmsKeyArn", KEY)]);
    let policy = template.properties("KeyPolicy");
    let holders: BTreeSet<_> = listed(&policy["Roles"]).into_iter().map(Value::to_string).collect();
    let every = template.of_type("AWS::IAM::Role").into_keys().filter(|role| *role != "FallbackRole");
    assert_eq!(holders, every.map(|role| reference(role).to_string()).collect());
    let statements = listed(&policy["PolicyDocument"]["Statement"]);
    let [statement] = statements.as_slice() else { panic!("one statement") };
    assert_eq!(statement["Resource"], KEY);
    let services = texts(&statement["Condition"]["StringEquals"]["kms:ViaService"]);
    for service in ["dynamodb", "s3", "sqs"] {
        let named = format!("{service}.${{AWS::Region}}.${{AWS::URLSuffix}}");
        assert!(services.contains(&named.as_str()), "{service}");
    }
}

#[test]
fn operators_may_do_what_their_commands_do() {
    // By name: what a stack is asked for by is not its id.
    const STACK: &str = "cloudformation:DescribeStacks on the stack";
    let expected: [(&str, &[&str]); 3] = [
        (
            "OperatorPolicy",
            &[
                STACK,
                "cloudformation:ListStackResources on the stack",
                "dynamodb:DescribeContinuousBackups on ApiKeysTable",
                "dynamodb:DescribeContinuousBackups on JobsTable",
                "dynamodb:DescribeContinuousBackups on RecordsTable",
                "dynamodb:DescribeContinuousBackups on UsageTable",
                "dynamodb:DescribeTable on ApiKeysTable",
                "dynamodb:DescribeTable on JobsTable",
                "dynamodb:DescribeTable on RecordsTable",
                "dynamodb:DescribeTable on UsageTable",
                "dynamodb:DescribeTimeToLive on ApiKeysTable",
                "dynamodb:DescribeTimeToLive on JobsTable",
                "dynamodb:DescribeTimeToLive on RecordsTable",
                "dynamodb:DescribeTimeToLive on UsageTable",
                "dynamodb:GetItem on JobsTable",
                "dynamodb:GetItem on UsageTable",
                "dynamodb:PutItem on UsageTable",
                "dynamodb:Query on ApiKeysTable/index/byTenant",
                "dynamodb:Query on JobsTable",
                "dynamodb:Query on UsageTable",
                "dynamodb:Scan on ApiKeysTable",
                "dynamodb:Scan on UsageTable",
                "lambda:GetFunctionConfiguration on functions",
                "lambda:ListEventSourceMappings on *",
                "sqs:SendMessage on ExportQueue",
                "sqs:SendMessage on ImportQueue",
            ],
        ),
        (
            "TenantsPolicy",
            &[
                STACK,
                "dynamodb:GetItem on ApiKeysTable",
                "dynamodb:GetItem on UsageTable",
                "dynamodb:PutItem on ApiKeysTable",
                "dynamodb:PutItem on UsageTable",
                "dynamodb:Query on ApiKeysTable/index/byTenant",
            ],
        ),
        (
            "ErasurePolicy",
            &[
                STACK,
                "dynamodb:BatchGetItem on RecordsTable",
                "dynamodb:BatchWriteItem on JobsTable",
                "dynamodb:BatchWriteItem on RecordsTable",
                "dynamodb:BatchWriteItem on UsageTable",
                "dynamodb:DeleteItem on RecordsTable",
                "dynamodb:DeleteItem on UsageTable",
                "dynamodb:GetItem on UsageTable",
                "dynamodb:PutItem on RecordsTable",
                "dynamodb:PutItem on UsageTable",
                "dynamodb:Query on ApiKeysTable/index/byTenant",
                "dynamodb:Query on JobsTable",
                "dynamodb:Query on RecordsTable",
                "dynamodb:Query on UsageTable",
                "s3:AbortMultipartUpload on Bucket/*",
                "s3:DeleteObject on Bucket/*",
                "s3:ListBucket on Bucket",
                "s3:ListBucketMultipartUploads on Bucket",
            ],
        ),
    ];
    let (template, with_key) = (Template::new(), Template::with(&[("KmsKeyArn", KEY)]));
    for (policy, expected) in expected {
        let of = |template: &Template| allowed(&template.properties(policy)["PolicyDocument"]);
        let without = of(&template);
        assert_eq!(without.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{policy}");
        let with = of(&with_key);
        assert!(with.difference(&without).all(|permission| permission.starts_with("kms:")), "{policy}");
        assert!(with.len() > without.len(), "{policy}");
        assert_eq!(template.outputs[&format!("{policy}Arn")]["Value"], reference(policy));
        // Nobody changes what others have left as evidence, or what a tenant has used.
        for statement in listed(&template.properties(policy)["PolicyDocument"]["Statement"]) {
            let actions = texts(&statement["Action"]);
            let writes =
                actions.iter().any(|action| ["Put", "Write", "Delete"].iter().any(|verb| action.contains(verb)));
            if statement["Resource"] == arn("UsageTable") && writes {
                assert!(!statement["Condition"].is_null(), "{policy}: {actions:?}");
            }
        }
    }
}

/// The page that says who may do what: one row for each function and resource.
fn page(template: &Template) -> String {
    let mut page =
        "# Permissions\n\nWhat each function's role allows, as `template.yaml` has it: a test writes this page and \
                    compares it. Left out are\nlogs and traces, which every function may write, the key's permissions (`KeyPolicy`), the conditions of a permission, and what\noperators may (`OperatorPolicy`, `TenantsPolicy`, `ErasurePolicy`).\n\n\
                    | Function | Resource | May |\n|---|---|---|\n"
            .to_owned();
    for (role, allowed) in roles(template) {
        let mut verbs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for permission in &allowed {
            let (action, resource) = permission.split_once(" on ").unwrap();
            let (service, verb) = action.split_once(':').unwrap();
            if !["logs", "xray"].contains(&service) {
                verbs.entry(resource).or_default().push(verb);
            }
        }
        for (resource, verbs) in verbs {
            let function = role.trim_end_matches("Role");
            page.push_str(&format!("| {function} | `{resource}` | {} |\n", verbs.join(", ")));
        }
    }
    page
}

/// `UPDATE=1 cargo test` writes the page.
#[test]
fn the_page_of_permissions_is_the_template_s() {
    let path = &in_process::root().join("docs/permissions.md");
    let page = page(&Template::new());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page, "run with UPDATE=1");
}
