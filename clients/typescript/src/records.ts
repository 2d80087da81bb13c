import type * as generated from './generated/openapi.gen.js';

/** The members of a record that the service knows for every type. */
export interface RecordIdentity {
  /** 1 to 64 of `A-Za-z0-9-._`. A record with an `id` is created or replaced under it; without one it gets an id. */
  id?: string;
  /** `lastUpdated` and the tenant's tag are written by the service. */
  meta?: { lastUpdated?: string; tag?: object[]; [member: string]: unknown };
}

/** The fields of each record type. */
export interface RecordTypes {
  Account: generated.Account;
  ActivityDefinition: generated.ActivityDefinition;
  AllergyIntolerance: generated.AllergyIntolerance;
  Appointment: generated.Appointment;
  AppointmentResponse: generated.AppointmentResponse;
  AuditEvent: generated.AuditEvent;
  CarePlan: generated.CarePlan;
  CareTeam: generated.CareTeam;
  ChargeItem: generated.ChargeItem;
  Claim: generated.Claim;
  ClaimResponse: generated.ClaimResponse;
  ClinicalImpression: generated.ClinicalImpression;
  Composition: generated.Composition;
  Condition: generated.Condition;
  Consent: generated.Consent;
  Coverage: generated.Coverage;
  CoverageEligibilityRequest: generated.CoverageEligibilityRequest;
  CoverageEligibilityResponse: generated.CoverageEligibilityResponse;
  Device: generated.Device;
  DeviceRequest: generated.DeviceRequest;
  DeviceUseStatement: generated.DeviceUseStatement;
  DiagnosticReport: generated.DiagnosticReport;
  DocumentReference: generated.DocumentReference;
  Encounter: generated.Encounter;
  EnrollmentRequest: generated.EnrollmentRequest;
  EnrollmentResponse: generated.EnrollmentResponse;
  ExplanationOfBenefit: generated.ExplanationOfBenefit;
  FamilyMemberHistory: generated.FamilyMemberHistory;
  Goal: generated.Goal;
  HealthcareService: generated.HealthcareService;
  ImagingStudy: generated.ImagingStudy;
  Immunization: generated.Immunization;
  ImmunizationEvaluation: generated.ImmunizationEvaluation;
  ImmunizationRecommendation: generated.ImmunizationRecommendation;
  Invoice: generated.Invoice;
  Location: generated.Location;
  Measure: generated.Measure;
  MeasureReport: generated.MeasureReport;
  Media: generated.Media;
  Medication: generated.Medication;
  MedicationDispense: generated.MedicationDispense;
  MedicationKnowledge: generated.MedicationKnowledge;
  MedicationRequest: generated.MedicationRequest;
  MedicationStatement: generated.MedicationStatement;
  NutritionOrder: generated.NutritionOrder;
  Observation: generated.Observation;
  Organization: generated.Organization;
  Patient: generated.Patient;
  PaymentNotice: generated.PaymentNotice;
  PaymentReconciliation: generated.PaymentReconciliation;
  Person: generated.Person;
  PlanDefinition: generated.PlanDefinition;
  Practitioner: generated.Practitioner;
  PractitionerRole: generated.PractitionerRole;
  QuestionnaireResponse: generated.QuestionnaireResponse;
  RiskAssessment: generated.RiskAssessment;
  Schedule: generated.Schedule;
  ServiceRequest: generated.ServiceRequest;
  Slot: generated.Slot;
  Specimen: generated.Specimen;
  Task: generated.Task;
  VisionPrescription: generated.VisionPrescription;
}

/**
 * A record of one type, to import: `const patients: RecordOf<'Patient'>[] = …`.
 * The service keeps members that the type does not define; declare them with `&`.
 */
export type RecordOf<T extends generated.ResourceType> = RecordTypes[T] & RecordIdentity & { resourceType?: T };

/** A record of each type as an import takes it. */
type ImportableRecords = {
  [T in generated.ResourceType]: Importable<RecordTypes[T] & RecordIdentity & { resourceType?: T }>;
};

/**
 * Known fields have their types; what is missing, and what is not known, is the service's to judge. The first one is for
 * rows whose type has no index signature, such as those of an interface, or `object`.
 */
type Importable<R> = Fields<R> | (Fields<R> & { [member: string]: unknown });
type Fields<R> = { [Field in keyof R]?: R[Field] | undefined };

/**
 * A record as `import`, `validate` and `importAll` take it. Fields of the type are checked where they are given, and
 * others are allowed: the service keeps them. That required fields are there {@link RecordOf} checks, and the service.
 * Rows of an unknown form may be of type `object` or `Record<string, unknown>`.
 */
export type ImportableRecord<T extends generated.ResourceType> = ImportableRecords[T];

/** A record of one type, as exported: with `resourceType`, `id` and `meta`. */
export type ExportedRecord<T extends generated.ResourceType = generated.ResourceType> = {
  [Type in T]: RecordTypes[Type] & {
    resourceType: Type;
    id: string;
    meta: { lastUpdated: string; tag: { system?: string; code?: string }[]; [member: string]: unknown };
  };
}[T];

export type {
  Account,
  ActivityDefinition,
  Address,
  AllergyIntolerance,
  Appointment,
  AppointmentResponse,
  AuditEvent,
  BoundedMoney,
  BoundedMoneyAmount,
  BoundedQuantity,
  CarePlan,
  CareTeam,
  ChargeItem,
  Claim,
  ClaimResponse,
  ClinicalImpression,
  Coding,
  Composition,
  Condition,
  Consent,
  Coverage,
  CoverageEligibilityRequest,
  CoverageEligibilityResponse,
  DateTimePeriod,
  Device,
  DeviceRequest,
  DeviceUseStatement,
  DiagnosticReport,
  DocumentReference,
  Encounter,
  EnrollmentRequest,
  EnrollmentResponse,
  ExplanationOfBenefit,
  FamilyMemberHistory,
  Goal,
  HealthcareService,
  ImagingStudy,
  Immunization,
  ImmunizationEvaluation,
  ImmunizationRecommendation,
  Invoice,
  Location,
  Measure,
  MeasureReport,
  Media,
  Medication,
  MedicationDispense,
  MedicationKnowledge,
  MedicationRequest,
  MedicationStatement,
  Money,
  MoneyAmount,
  NutritionOrder,
  Observation,
  Organization,
  Patient,
  PaymentNotice,
  PaymentReconciliation,
  Performer,
  Period,
  Person,
  Photo,
  PlanDefinition,
  Practitioner,
  PractitionerRole,
  Quantity,
  QuestionnaireResponse,
  Ratio,
  RiskAssessment,
  Schedule,
  ServiceRequest,
  Slot,
  Specimen,
  Task,
  VisionPrescription,
} from './generated/openapi.gen.js';
