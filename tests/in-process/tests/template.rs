//! What the template promises and no emulator can show.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// The resources, by name: a resource begins with its name at the second column.
fn resources() -> Vec<(&'static str, &'static str)> {
    let resources = TEMPLATE.split("\nResources:\n").nth(1).unwrap().split("\nOutputs:\n").next().unwrap();
    let begins = |at: usize| {
        let line = &resources[at..];
        line.starts_with("  ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_uppercase)
    };
    let starts = std::iter::once(0).chain(resources.match_indices('\n').map(|(at, _)| at + 1));
    let starts: Vec<_> = starts.filter(|at| begins(*at)).chain([resources.len()]).collect();
    let block = |pair: &[usize]| {
        let block = &resources[pair[0]..pair[1]];
        (block.trim_start().split(':').next().unwrap(), block)
    };
    starts.windows(2).map(block).collect()
}

fn of_type(kind: &str) -> Vec<(&'static str, &'static str)> {
    let kind = format!("Type: {kind}\n");
    resources().into_iter().filter(|(_, block)| block.contains(&kind)).collect()
}

fn resource(name: &str) -> &'static str {
    resources().into_iter().find(|(own, _)| *own == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn what_holds_records_survives_the_stack() {
    for (name, block) in of_type("AWS::DynamoDB::Table") {
        for promise in [
            "DeletionPolicy: RetainExceptOnCreate",
            "UpdateReplacePolicy: Retain",
            "DeletionProtectionEnabled: !Ref DeletionProtection",
            "PointInTimeRecoveryEnabled: true",
            "SSEEnabled: true",
        ] {
            assert!(block.contains(promise), "{name}: {promise}");
        }
        let time_to_live = if name == "RecordsTable" { "AttributeName: e," } else { "AttributeName: expiresAt," };
        assert!(block.contains(&format!("{time_to_live} Enabled: true")), "{name}");
        assert_eq!(block.contains("GlobalSecondaryIndexes"), ["JobsTable", "ApiKeysTable"].contains(&name), "{name}");
    }
    let bucket = resource("Bucket");
    for promise in [
        "DeletionPolicy: RetainExceptOnCreate",
        "UpdateReplacePolicy: Retain",
        "SSEAlgorithm",
        "BlockPublicPolicy: true",
    ] {
        assert!(bucket.contains(promise), "{promise}");
    }
    assert!(resource("BucketPolicy").contains(
        r#"Deny
            Principal: "*""#
    ));
    assert_eq!((of_type("AWS::DynamoDB::Table").len(), of_type("AWS::SQS::Queue").len()), (4, 4));
    assert!(of_type("AWS::SQS::Queue").iter().all(|(_, block)| block.contains("SqsManagedSseEnabled: true")));
}

#[test]
fn roles_reach_what_they_need_and_no_more() {
    let roles = of_type("AWS::IAM::Role");
    assert_eq!(roles.len(), of_type("AWS::Serverless::Function").len(), "one role a function");
    for (name, block) in &roles {
        for (index, _) in block.match_indices("Resource: \"*\"") {
            let before = &block[..index];
            let statement = &before[before.rfind("- Effect").unwrap()..];
            assert!(statement.contains("xray:Put"), "{name}: only traces have no resource of their own");
        }
        assert!(!block.contains(":*]") && !block.contains("ManagedPolicyArns"), "{name}");
        // Deleting is an operator's.
        for forbidden in ["dynamodb:Delete", "s3:Delete", "dynamodb:Scan"] {
            assert!(!block.contains(forbidden), "{name}: {forbidden}");
        }
    }
    let of_records = roles.iter().filter(|(_, block)| block.contains("RecordsTable")).map(|(name, _)| *name);
    assert_eq!(of_records.collect::<Vec<_>>(), ["RunImportRole", "RunExportRole"]);
    assert!(!resource("RunImportRole").contains("dynamodb:Query"), "an import reads no record");
    assert!(!resource("RunExportRole").contains("dynamodb:BatchWriteItem"), "an export writes none");
    assert!(!resource("GetJobRole").contains("imports/"), "the status function reads no import");
    assert!(!resource("GetJobRole").contains("s3:Put"));
    for api in ["StartImportRole", "StartExportRole", "CreateUploadRole"] {
        assert!(!resource(api).contains("exports/") && !resource(api).contains("reports/"), "{api}");
    }
}

#[test]
fn the_runbook_knows_every_alarm() {
    let runbook = include_str!("../../../RUNBOOK.md");
    let headings: Vec<_> = runbook.lines().filter(|line| line.starts_with("## ")).collect();
    let alarms = of_type("AWS::CloudWatch::Alarm");
    assert!(alarms.len() > 19);
    for (name, block) in alarms {
        let is_in = |heading: &&str| heading[3..].split(", ").any(|alarm| alarm == name);
        assert!(headings.iter().any(is_in), "RUNBOOK.md has nothing about {name}");
        assert!(block.contains("AlarmActions: !If [HasAlarmTopic"), "{name} tells nobody");
        assert!(block.contains("TreatMissingData"), "{name}");
    }
    for line in headings.iter().flat_map(|heading| heading[3..].split(", ")).filter(|name| name.ends_with("Alarm")) {
        assert!(TEMPLATE.contains(&format!("\n  {line}:\n")), "there is no {line} any more");
    }
}

#[test]
fn audits_are_kept_and_counted() {
    for function in ["StartImport", "StartExport", "CreateUpload", "GetJob"] {
        assert!(resource(&format!("{function}Logs")).contains("RetentionInDays: !Ref AuditRetentionDays"));
        assert!(resource(&format!("{function}AuditFilter")).contains("$.fields.audit"));
    }
}
