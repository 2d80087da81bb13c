//! What the template promises and no emulator can show: the emulator takes these settings, and ignores them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_push_string, reason = "test")]

use std::collections::BTreeSet;

use serde_json::{Value, json};

mod alarms;
mod api;
mod functions;
mod parameters;
mod roles;
mod versions;
mod yaml;

use yaml::{Template, arn, listed, reference};

const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/example";

#[test]
fn what_holds_records_survives_the_stack() {
    let template = Template::with(&[("DeletionProtection", "true")]);
    let tables = template.of_type("AWS::DynamoDB::Table");
    assert_eq!(tables.len(), 4);
    for (name, table) in &tables {
        assert_eq!(table["DeletionProtectionEnabled"], "true", "{name}");
        assert_eq!(table["PointInTimeRecoverySpecification"], json!({"PointInTimeRecoveryEnabled": true}), "{name}");
        assert_eq!(table["BillingMode"], "PAY_PER_REQUEST", "{name}");
        let attribute = if *name == "RecordsTable" { "e" } else { "expiresAt" };
        assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": attribute, "Enabled": true}), "{name}");
        let has_index = ["JobsTable", "ApiKeysTable"].contains(name);
        assert_eq!(!table["GlobalSecondaryIndexes"].is_null(), has_index, "{name}");
    }
    // Audit events must be there when the stack no longer is.
    for name in tables.keys().chain(&["Bucket", "ApiLogs"]) {
        let resource = template.resource(name);
        // Gone if the stack's creation fails, or the next attempt would find the name taken.
        assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
    }
}

#[test]
fn a_first_deployment_that_fails_can_be_rolled_back() {
    let template = Template::new();
    for (name, table) in template.of_type("AWS::DynamoDB::Table") {
        assert_eq!(table["DeletionProtectionEnabled"], "false", "{name}");
    }
}

#[test]
fn everything_stored_is_encrypted() {
    let template = Template::new();
    for (name, table) in template.of_type("AWS::DynamoDB::Table") {
        assert_eq!(table["SSESpecification"], json!({"SSEEnabled": true}), "{name}");
    }
    for (name, queue) in template.of_type("AWS::SQS::Queue") {
        assert_eq!((&queue["SqsManagedSseEnabled"], &queue["KmsMasterKeyId"]), (&json!(true), &Value::Null), "{name}");
    }
    let encryption = &template.properties("Bucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"];
    assert_eq!(encryption, &json!([{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]));
    assert!(!template.resources.contains_key("KeyPolicy"));
}

#[test]
fn a_key_of_the_customer_encrypts_everything() {
    let template = Template::with(&[("KmsKeyArn", KEY)]);
    for (name, table) in template.of_type("AWS::DynamoDB::Table") {
        let expected = json!({"SSEEnabled": true, "SSEType": "KMS", "KMSMasterKeyId": KEY});
        assert_eq!(table["SSESpecification"], expected, "{name}");
    }
    let queues = template.of_type("AWS::SQS::Queue");
    assert_eq!(queues.len(), 4);
    for (name, queue) in queues {
        // SQS refuses a queue with both.
        assert_eq!((&queue["KmsMasterKeyId"], &queue["SqsManagedSseEnabled"]), (&json!(KEY), &Value::Null), "{name}");
    }
    for (name, group) in template.of_type("AWS::Logs::LogGroup") {
        assert_eq!(group["KmsKeyId"], KEY, "{name}");
    }
    let encryption = &template.properties("Bucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"];
    let by_default = json!({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY});
    assert_eq!(encryption, &json!([{"BucketKeyEnabled": true, "ServerSideEncryptionByDefault": by_default}]));
}

#[test]
fn the_bucket_is_private_and_forgets() {
    let template = Template::with(&[("RetentionDays", "9")]);
    let bucket = template.properties("Bucket");
    let blocked = ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"];
    for rule in blocked {
        assert_eq!(bucket["PublicAccessBlockConfiguration"][rule], true, "{rule}");
    }
    let rules = bucket["LifecycleConfiguration"]["Rules"].as_array().unwrap();
    let days = |prefix: &str| {
        let rule = rules.iter().find(|rule| rule["Prefix"] == prefix).unwrap();
        assert_eq!(rule["Status"], "Enabled", "{prefix}");
        rule["ExpirationInDays"].clone()
    };
    for prefix in ["imports/", "exports/", "reports/"] {
        assert_eq!(days(prefix), "9", "{prefix}");
    }
    assert_eq!((days("uploads/"), days("chunks/")), (json!(2), json!(2)));
    let unfinished = rules.iter().find(|rule| !rule["AbortIncompleteMultipartUpload"].is_null()).unwrap();
    assert_eq!(unfinished["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 2);
    assert_eq!((&unfinished["Status"], &unfinished["Prefix"]), (&json!("Enabled"), &Value::Null));
    assert_eq!(rules.len(), 6);
    let policy = &template.properties("BucketPolicy")["PolicyDocument"]["Statement"];
    let tls_only = json!([{
        "Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [arn("Bucket"), {"Fn::Sub": "${Bucket.Arn}/*"}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }]);
    assert_eq!(policy, &tls_only);
}

#[test]
fn a_table_of_records_can_be_made_ready_for_a_migration() {
    assert_eq!(Template::new().properties("RecordsTable")["WarmThroughput"], Value::Null);
    let template = Template::with(&[("RecordsWarmWriteUnits", "40000")]);
    assert_eq!(template.properties("RecordsTable")["WarmThroughput"], json!({"WriteUnitsPerSecond": "40000"}));
}

#[test]
fn a_message_survives_throttles_and_ends_in_its_dead_letter_queue() {
    let template = Template::new();
    for (queue, dlq, function) in
        [("ImportQueue", "ImportDlq", "RunImportFunction"), ("ExportQueue", "ExportDlq", "RunExportFunction")]
    {
        let properties = template.properties(queue);
        let redrive = json!({"deadLetterTargetArn": arn(dlq), "maxReceiveCount": 10});
        assert_eq!(properties["RedrivePolicy"], redrive, "{queue}");
        let timeout = template.of_function(function, "Timeout").as_i64().unwrap();
        assert_eq!(properties["VisibilityTimeout"].as_i64().unwrap(), timeout + 60, "{queue}");
        let kept = |queue: &str| template.properties(queue)["MessageRetentionPeriod"].as_i64().unwrap();
        assert!(kept(dlq) > kept(queue), "{dlq}");
    }
}

#[test]
fn every_resource_that_can_have_tags_has_them() {
    // With everything there is.
    let optional = [
        ("DomainName", "api.example.org"),
        ("CertificateArn", "arn"),
        ("KmsKeyArn", KEY),
        ("Deployment", "Canary10Percent5Minutes"),
        ("AuditBucketArn", "arn"),
        ("BackupPlan", "true"),
        ("AlarmEmail", "ops@example.org"),
    ];
    let template = Template::with(&optional);
    let list = json!([{"Key": "stage", "Value": "dev"}]);
    let map = json!({"stage": "dev"});
    for (name, resource) in &template.resources {
        let expected = match resource["Type"].as_str().unwrap() {
            "AWS::CloudWatch::Alarm"
            | "AWS::CloudWatch::CompositeAlarm"
            | "AWS::CloudWatch::Dashboard"
            | "AWS::DynamoDB::Table"
            | "AWS::Events::Rule"
            | "AWS::IAM::Role"
            | "AWS::KinesisFirehose::DeliveryStream"
            | "AWS::Lambda::EventSourceMapping"
            | "AWS::Logs::LogGroup"
            | "AWS::S3::Bucket"
            | "AWS::SNS::Topic"
            | "AWS::SQS::Queue" => &list,
            "AWS::ApiGatewayV2::Api" | "AWS::ApiGatewayV2::DomainName" | "AWS::ApiGatewayV2::Stage" => &map,
            "AWS::Serverless::Function" => {
                assert_eq!((&template.globals["Tags"], &template.globals["PropagateTags"]), (&map, &json!(true)));
                // What SAM makes of events has no tags.
                assert!(resource["Properties"]["Events"].is_null(), "{name}");
                &Value::Null
            }
            "AWS::Backup::BackupVault" => {
                assert_eq!(resource["Properties"]["BackupVaultTags"], map);
                &Value::Null
            }
            "AWS::Backup::BackupPlan" => {
                assert_eq!(resource["Properties"]["BackupPlanTags"], map);
                &Value::Null
            }
            "AWS::ApiGatewayV2::ApiMapping"
            | "AWS::Backup::BackupSelection"
            | "AWS::ApiGatewayV2::Integration"
            | "AWS::ApiGatewayV2::Route"
            | "AWS::IAM::ManagedPolicy"
            | "AWS::Lambda::Permission"
            | "AWS::Logs::MetricFilter"
            | "AWS::Logs::SubscriptionFilter"
            | "AWS::S3::BucketPolicy" => &Value::Null,
            other => panic!("can {other} have tags?"),
        };
        assert_eq!(&resource["Properties"]["Tags"], expected, "{name}");
    }
}

#[test]
fn audits_are_kept_and_counted() {
    let template = Template::with(&[("AuditRetentionDays", "3653"), ("LogRetentionDays", "14")]);
    let groups = template.of_type("AWS::Logs::LogGroup");
    let retention = |group: &str| groups[group]["RetentionInDays"].clone();
    assert_eq!(retention("ApiLogs"), "3653");
    for group in ["ProcessorLogs", "SweeperLogs", "AccessLogs"] {
        assert_eq!(retention(group), "14", "{group}");
    }
    assert_eq!(groups.len(), 4);
    let filters = template.of_type("AWS::Logs::MetricFilter");
    let of_audits: Vec<_> = filters.values().filter(|filter| filter["FilterPattern"] == AUDITS).collect();
    let [filter] = of_audits.as_slice() else { panic!("one filter") };
    assert_eq!(filter["LogGroupName"], reference("ApiLogs"));
    assert_eq!(listed(&filter["MetricTransformations"])[0]["MetricValue"], "1");
    // Six years, as HIPAA wants documentation to be kept.
    assert_eq!(Template::new().of_type("AWS::Logs::LogGroup")["ApiLogs"]["RetentionInDays"], 2192);
}

/// What says that it is an audit event.
const AUDITS: &str = r#"{ $.fields.audit = "*" }"#;

#[test]
fn audits_can_be_delivered_to_a_bucket_that_keeps_them() {
    let bucket = "arn:aws:s3:::kept";
    let (without, with) = (Template::new(), Template::with(&[("AuditBucketArn", bucket)]));
    assert!(without.of_type("AWS::KinesisFirehose::DeliveryStream").is_empty());
    assert!(without.of_type("AWS::Logs::SubscriptionFilter").is_empty());
    let subscription = with.properties("AuditSubscription");
    assert_eq!(
        (&subscription["FilterPattern"], &subscription["LogGroupName"]),
        (&json!(AUDITS), &reference("ApiLogs"))
    );
    let destination = &with.properties("AuditStream")["ExtendedS3DestinationConfiguration"];
    assert_eq!(destination["BucketARN"], bucket);
    // Both roles reach this stream and this stack's part of the bucket, and cannot delete.
    let roles = serde_json::to_string(&[with.properties("AuditStreamRole"), with.properties("AuditSubscriptionRole")]);
    let roles = roles.unwrap();
    assert!(!roles.contains("Delete") && !roles.contains(r#""Resource":"*""#), "{roles}");
}

#[test]
fn backups_are_made_of_all_tables_and_kept_for_35_days() {
    let vault = "arn:aws:backup:eu-central-1:123456789012:backup-vault:copies";
    assert!(Template::new().of_type("AWS::Backup::BackupPlan").is_empty());
    for (copies, parameters) in
        [(0, vec![("BackupPlan", "true")]), (1, vec![("BackupPlan", "true"), ("BackupCopyVaultArn", vault)])]
    {
        let template = Template::with(&parameters);
        let selected = &template.properties("TablesBackupSelection")["BackupSelection"]["Resources"];
        let tables: BTreeSet<_> = listed(selected).into_iter().map(Value::to_string).collect();
        assert_eq!(tables, yaml::TABLES.iter().map(|(logical, _)| arn(logical).to_string()).collect());
        let rule = &template.properties("TablesBackup")["BackupPlan"]["BackupPlanRule"][0];
        assert_eq!(rule["Lifecycle"]["DeleteAfterDays"], 35);
        let made = rule["CopyActions"].as_array().map_or(0, Vec::len);
        assert_eq!(made, copies);
    }
    let alone = Template::with(&[("BackupCopyVaultArn", vault)]);
    assert!(alone.of_type("AWS::Backup::BackupPlan").is_empty(), "a rule refuses it");
}

/// A restore makes tables of other names: the stack is pointed at them, and nothing else of it changes.
#[test]
fn a_stack_can_use_tables_that_are_there() {
    let (own, others) = (Template::new(), Template::with(&[("TablesInStack", "false")]));
    assert_eq!(own.of_type("AWS::DynamoDB::Table").len(), 4);
    assert!(others.of_type("AWS::DynamoDB::Table").is_empty());
    for (name, resource) in &own.resources {
        if resource["Type"] != "AWS::DynamoDB::Table" {
            assert_eq!(others.resources.get(name), Some(resource), "{name}");
        }
    }
    assert_eq!(own.outputs, others.outputs);
    for (logical, name) in yaml::TABLES {
        let named = yaml::table(logical).unwrap();
        assert_eq!(own.properties(logical)["TableName"]["Fn::Sub"], named.as_str());
        assert!(named.ends_with(&format!("-{name}${{TablesSuffix}}")));
    }
}

#[test]
fn processing_can_be_switched_off() {
    for (processing, enabled) in [("on", true), ("off", false)] {
        let template = Template::with(&[("Processing", processing)]);
        let sources = template.of_type("AWS::Lambda::EventSourceMapping");
        assert_eq!(sources.len(), 2);
        assert!(sources.values().all(|source| source["Enabled"] == enabled), "{processing}");
    }
}

#[test]
fn the_runbook_imports_what_outlives_the_stack() {
    let runbook = include_str!("../../../../RUNBOOK.md");
    let (_, rest) = runbook.split_once("<<'END'\n").unwrap();
    let imports: Vec<Value> = serde_json::from_str(rest.split_once("\nEND").unwrap().0).unwrap();
    let template = Template::new();
    let retained =
        template.resources.iter().filter(|(_, resource)| resource["DeletionPolicy"] == "RetainExceptOnCreate");
    let mut expected: Vec<_> = retained
        .map(|(name, resource)| {
            let of_type = |(kind, name)| (resource["Type"] == kind).then_some(name);
            let kinds = [
                ("AWS::DynamoDB::Table", "TableName"),
                ("AWS::S3::Bucket", "BucketName"),
                ("AWS::Logs::LogGroup", "LogGroupName"),
            ];
            let identifier = kinds.into_iter().find_map(of_type).unwrap();
            let own = resource["Properties"][identifier]["Fn::Sub"].as_str().unwrap();
            let own = own.replace("${AWS::StackName}", "STACK").replace("${AWS::AccountId}", "ACCOUNT");
            let own = own.replace("${AWS::Region}", "REGION").replace("${TablesSuffix}", "");
            json!({"ResourceType": resource["Type"], "LogicalResourceId": name, "ResourceIdentifier": {identifier: own}})
        })
        .collect();
    let by_name = |import: &Value| import["LogicalResourceId"].to_string();
    expected.sort_by_key(by_name);
    let mut imports = imports;
    imports.sort_by_key(by_name);
    assert_eq!(imports, expected);
}
