//! The outputs of a deployed stack: where its tables, bucket and queues are.

use std::collections::HashMap;

use ports::PortError;

use crate::Aws;
use crate::error::port_error;

impl Aws {
    /// The outputs of a `CloudFormation` stack, by their keys. A stack that is not there is an error.
    pub async fn stack_outputs(&self, stack: &str) -> Result<HashMap<String, String>, PortError> {
        let client = aws_sdk_cloudformation::Client::new(&self.config);
        let described = client.describe_stacks().stack_name(stack).send().await;
        let described = described.map_err(|error| port_error("describe stack", &error))?;
        let stacks = described.stacks.unwrap_or_default();
        let outputs = stacks.into_iter().flat_map(|stack| stack.outputs.unwrap_or_default());
        Ok(outputs.filter_map(|output| Some((output.output_key?, output.output_value?))).collect())
    }
}
