import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FILE = join(ROOT, 'test/written.ts');

/** What an editor offers at the sign `¦` of a program: the names, and what it says of one of them. */
function offers(program: string, name: string): [names: string[], text: string] {
  const at = program.indexOf('¦');
  const written = program.replace('¦', '');
  const read = (file: string) => (file === FILE ? written : ts.sys.readFile(file));
  const service = ts.createLanguageService({
    getCompilationSettings: () => ({
      ...{ module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, strict: true, types: ['node'] },
    }),
    getScriptFileNames: () => [FILE],
    getScriptVersion: () => '1',
    getScriptSnapshot: (file) => {
      const text = read(file);
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
    },
    getCurrentDirectory: () => ROOT,
    getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
    fileExists: (file) => file === FILE || ts.sys.fileExists(file),
    readFile: read,
    directoryExists: ts.sys.directoryExists,
    getDirectories: ts.sys.getDirectories,
  });
  const names = service.getCompletionsAtPosition(FILE, at, {})?.entries.map((entry) => entry.name) ?? [];
  const found = service.getCompletionEntryDetails(FILE, at, name, undefined, undefined, undefined, undefined);
  return [names, ts.displayPartsToString(found?.documentation)];
}

const START = "import { Clinik } from '../src/index.js';\nconst { bulk } = new Clinik();\n";

describe('an editor', () => {
  for (const [way, program] of Object.entries({
    import: "bulk.import({ resourceType: 'Patient', data: [{ ¦ }] });",
    'import with another record before':
      "bulk.import({ resourceType: 'Patient', data: [{ lastName: 'Doe' }, { own: 1, ¦ }] });",
    validate: "bulk.validate({ resourceType: 'Patient', data: [{ ¦ }] });",
    importAll: "bulk.importAll({ resourceType: 'Patient', records: [{ ¦ }] });",
  })) {
    test(`offers the fields of the type in ${way}, with what the schema says of them`, () => {
      const [names, text] = offers(START + program, 'birthDate');
      for (const name of ['id', 'firstName', 'lastName', 'birthDate', 'gender', 'contact']) {
        assert.ok(names.includes(name), `${name} of ${names.slice(0, 20)}`);
      }
      assert.ok(!names.includes('actorIds'), 'a field of another type');
      assert.equal(text, 'A date: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`.');
    });
  }

  test('says of each field what it takes', () => {
    const said = (type: string, field: string) =>
      offers(`${START}bulk.import({ resourceType: '${type}', data: [{ ¦ }] });`, field)[1];
    assert.equal(said('Patient', 'lastName'), 'Required. Text, 1 to 100 characters.');
    assert.equal(said('Patient', 'address'), 'A postal address.');
    assert.equal(said('Patient', 'id').slice(0, 25), '1 to 64 of `A-Za-z0-9-._`');
    assert.equal(said('Appointment', 'priority'), 'A whole number, 0 to 9.');
    assert.match(said('Observation', 'effectiveDateTime'), /^A time with its offset, as `2026-01-15T09:15:00Z`/);
  });
});
