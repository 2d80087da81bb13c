//! Reading what a route's path names.

use lambda_http::{Request, RequestExt};
use model::JobId;

use crate::error::ApiError;

/// The job that the path names; one that is malformed is not there.
pub fn job_id(request: &Request) -> Result<JobId, ApiError> {
    let parameters = request.path_parameters_ref();
    parameters
        .and_then(|parameters| parameters.first("jobId"))
        .and_then(|id| id.parse().ok())
        .ok_or_else(ApiError::not_found)
}
