//! The 62 record types, by their FHIR R4 names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! resource_types {
    ($($name:ident),* $(,)?) => {
        /// A clinical record type, by its FHIR R4 name.
        ///
        /// CONTRIBUTING.md says what else a new type takes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each variant is documented by the FHIR type of its name")]
        pub enum ResourceType { $($name),* }

        impl ResourceType {
            /// Every type, in the contract's order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The type's FHIR name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            pub(crate) fn source(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../schemas/", stringify!($name), ".json"))),*
                }
            }
        }
    };
}

resource_types! {
    Patient, Practitioner, PractitionerRole, Encounter, Observation, Medication, Appointment,
    MedicationRequest, QuestionnaireResponse, Consent, DiagnosticReport, DocumentReference,
    ClinicalImpression, Composition, AppointmentResponse, Task, Slot, Organization, Account,
    HealthcareService, ServiceRequest, Location, Schedule, Person, FamilyMemberHistory, CarePlan,
    Immunization, Claim, ClaimResponse, AllergyIntolerance, CareTeam, Condition, ChargeItem,
    Coverage, CoverageEligibilityRequest, CoverageEligibilityResponse, ExplanationOfBenefit,
    Device, DeviceRequest, DeviceUseStatement, Goal, Invoice, MedicationDispense,
    MedicationKnowledge, MedicationStatement, PaymentNotice, PaymentReconciliation, Specimen,
    ImagingStudy, EnrollmentRequest, EnrollmentResponse, ImmunizationEvaluation, Media,
    ActivityDefinition, NutritionOrder, PlanDefinition, VisionPrescription, RiskAssessment,
    AuditEvent, Measure, MeasureReport, ImmunizationRecommendation,
}

impl ResourceType {
    /// The types' names, with commas between them.
    #[must_use]
    pub fn names(types: &[Self]) -> String {
        types.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The name is none of the record types. The name itself is not kept: it came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown resource type")]
pub struct UnknownResourceType;

impl FromStr for ResourceType {
    type Err = UnknownResourceType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name).ok_or(UnknownResourceType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name_and_has_rules() {
        assert_eq!(ResourceType::ALL.len(), 62);
        for known in ResourceType::ALL {
            assert_eq!(known.as_str().parse(), Ok(*known));
            assert!(!known.schema().members().is_empty(), "{known}");
        }
        assert_eq!("patient".parse::<ResourceType>(), Err(UnknownResourceType));
    }
}
