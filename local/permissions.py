"""Takes one permission after the other away from functions and operators, and sees that something breaks.

    permissions.py [ROLE …]    all of them, unless some are named

A permission is one action on one resource in one statement of a policy. Each function's role, and each of the
operators' policies, has a scenario in tests/over-http/tests/permissions/ that uses all it may do; with the permission gone the
scenario has to fail. What the emulator cannot show is listed here, with the reason. Run by `make soak`, inside
`stack.py exec`.
"""

import copy
import json
import os
import re
import subprocess
import sys
import time

import boto3

SCENARIOS = {
    "StartImportRole": "start_import", "StartExportRole": "start_export", "CreateUploadRole": "create_upload",
    "GetJobRole": "get_job", "ListJobsRole": "list_jobs",
    "CancelJobRole": "cancel_job", "ValidateRecordsRole": "validate_records", "GetLimitsRole": "get_limits",
    "RunImportRole": "run_import", "RunExportRole": "run_export", "SweepJobsRole": "sweep_jobs",
    "OperatorPolicy": "look_and_redrive", "TenantsPolicy": "tenants_and_keys", "ErasurePolicy": "erase",
}

# Role, action and a part of the resource, as regular expressions.
NOT_SHOWN = [
    (".*", "logs:.*", ".*", "the emulator writes the logs itself"),
    (".*", "xray:.*", ".*", "the emulator has no traces"),
    ("Run.*", "sqs:(ReceiveMessage|DeleteMessage|ChangeMessageVisibility|GetQueueAttributes)", ".*",
     "the platform's poller needs them; the emulator's asks nobody"),
    (".*Role", "s3:ListBucket", ".*", "the emulator says 404 of an absent object to everybody, AWS 403 to whoever may not list"),
]


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def permissions(document: dict):
    """Every action on every resource, with the document that lacks it."""
    for index, statement in enumerate(document["Statement"]):
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        for action in actions:
            for resource in resources:
                others = [{**statement, "Action": a, "Resource": r} for a in actions for r in resources if (a, r) != (action, resource)]
                lacking = copy.deepcopy(document)
                lacking["Statement"][index:index + 1] = others
                yield action, resource, lacking


def built() -> str:
    """The scenarios' binary. It is built once, so that nothing but a permission can make one fail."""
    command = ["cargo", "test", "--workspace", "--locked", "--test", "permissions", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    artifacts = [message for message in map(json.loads, lines) if message["reason"] == "compiler-artifact"]
    [binary] = [artifact["executable"] for artifact in artifacts if artifact["target"]["name"] == "permissions"]
    return binary


def passes(binary: str, scenario: str) -> bool:
    return subprocess.run([binary, "--ignored", "--exact", scenario], capture_output=True).returncode == 0


class Held:
    """A policy that can be replaced: a role's own, or what the operators' user holds."""

    def __init__(self, iam, physical: str, is_role: bool):
        self.iam, self.is_role, self.name = iam, is_role, physical
        if is_role:
            [self.policy] = iam.list_role_policies(RoleName=physical)["PolicyNames"]
            self.document = iam.get_role_policy(RoleName=physical, PolicyName=self.policy)["PolicyDocument"]
            return
        version = iam.get_policy(PolicyArn=physical)["Policy"]["DefaultVersionId"]
        self.document = iam.get_policy_version(PolicyArn=physical, VersionId=version)["PolicyVersion"]["Document"]
        # Each policy has a user of its own.
        self.name, self.policy = f"permissions-{physical.rsplit('/', 1)[1]}", "operators"
        iam.create_user(UserName=self.name)
        key = iam.create_access_key(UserName=self.name)["AccessKey"]
        os.environ |= {"OPERATOR_KEY_ID": key["AccessKeyId"], "OPERATOR_SECRET_KEY": key["SecretAccessKey"]}
        self.put(self.document)

    def put(self, document: dict) -> None:
        text = json.dumps(document)
        if self.is_role:
            self.iam.put_role_policy(RoleName=self.name, PolicyName=self.policy, PolicyDocument=text)
        else:
            self.iam.put_user_policy(UserName=self.name, PolicyName=self.policy, PolicyDocument=text)


def main() -> None:
    wanted = sys.argv[1:] or list(SCENARIOS)
    binary = built()
    iam = boto3.client("iam")
    # The sweeper would make good for lost messages, and hide that they were.
    events = boto3.client("events")
    for rule in events.list_rules()["Rules"]:
        events.disable_rule(Name=rule["Name"])
    stack = boto3.client("cloudformation").list_stack_resources(StackName=os.environ["STACK"])["StackResourceSummaries"]
    resources = {resource["LogicalResourceId"]: resource for resource in stack}
    shown, left_out, idle = 0, 0, []
    for logical in wanted:
        scenario, of_stack = SCENARIOS[logical], resources[logical]
        held = Held(iam, of_stack["PhysicalResourceId"], of_stack["ResourceType"] == "AWS::IAM::Role")
        if not passes(binary, scenario):
            sys.exit(f"{scenario} fails with all permissions")
        for action, resource, lacking in permissions(held.document):
            reason = next((why for r, a, p, why in NOT_SHOWN
                           if re.fullmatch(r, logical) and re.fullmatch(a, action) and re.search(p, resource)), None)
            if reason:
                left_out += 1
                continue
            held.put(lacking)
            is_idle = passes(binary, scenario)
            held.put(held.document)
            print(f"{'NOT MISSED' if is_idle else 'missed    '}  {logical}: {action} on {resource}", flush=True)
            shown += 1
            if is_idle:
                idle.append((logical, action, resource))
        time.sleep(1)
    print(f"{shown} permissions were taken away, {len(idle)} of them were not missed; {left_out} cannot be shown here")
    if idle:
        sys.exit(1)


main()
