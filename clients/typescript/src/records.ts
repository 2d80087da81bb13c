import type * as generated from './generated/openapi.gen.js';
import type { RecordTypes } from './generated/records.gen.js';

export type * from './generated/records.gen.js';

/** The members of a record that the service knows for every type. */
export interface RecordIdentity {
  /** 1 to 64 of `A-Za-z0-9-._`. A record with an `id` is created or replaced under it; without one it gets an id. */
  id?: string;
  /** `lastUpdated` and the tenant's tag are written by the service. */
  meta?: { lastUpdated?: string; tag?: object[]; [member: string]: unknown };
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
