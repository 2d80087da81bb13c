// Says in words what the schemas of records say of each field, so that editors show it: the generator writes a schema's
// description as a comment, and leaves out its format and its bounds.

/** Formats in words. */
const FORMATS = {
  'fhir-date': 'A date: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`.',
  'fhir-date-time': 'A time with its offset, as `2026-01-15T09:15:00Z`, or a date: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`.',
  'fhir-time': 'A time of day: `HH:mm` or `HH:mm:ss`.',
  email: 'An email address.',
  uri: 'A URI.',
};
/** Types in words, where there is nothing better. */
const TYPES = {
  string: 'Text.',
  integer: 'A whole number.',
  number: 'A number.',
  boolean: 'True or false.',
  array: 'A list.',
  object: 'An object.',
};
/** What a schema does not bound is not bounded. */
const UNBOUNDED = { 'Text.': 'Text of any length.', 'A list.': 'A list of any length.' };

/** Gives the fields of all record types, and of what they are made of, a description. Changes the document. */
export function describeRecords(document) {
  const { schemas } = document.components;
  const seen = new Set();
  const resolve = (schema) => (schema.$ref === undefined ? schema : schemas[schema.$ref.split('/').at(-1)]);

  const visit = (schema) => {
    const found = resolve(schema);
    if (seen.has(found)) return;
    seen.add(found);
    for (const [name, field] of Object.entries(found.properties ?? {})) {
      const text = describe(field, found.required?.includes(name) ?? false, resolve);
      // Beside a reference a description would change what it refers to, so that it stands around it.
      if (text === '') continue;
      if (field.$ref === undefined) field.description = text;
      else found.properties[name] = { allOf: [field], description: text };
    }
    for (const inner of inside(found)) visit(inner);
  };
  for (const name of schemas.ResourceType.enum) visit(schemas[name]);
}

function inside({ properties = {}, items, anyOf = [], oneOf = [], allOf = [] }) {
  return [...Object.values(properties), ...(items === undefined ? [] : [items]), ...anyOf, ...oneOf, ...allOf];
}

function describe(field, isRequired, resolve) {
  const choices = (field.anyOf ?? field.oneOf ?? [field]).map(resolve).filter(({ type }) => type !== 'null');
  const texts = [...new Set(choices.map(describeOne).filter((text) => text !== ''))];
  const required = isRequired ? 'Required. ' : '';
  return `${required}${field.description === undefined ? texts.join(' Or: ') : field.description}`.trim();
}

/** One of the forms that a field may have. */
function describeOne(schema) {
  const type = [schema.type].flat().find((each) => each !== 'null');
  if (schema.enum !== undefined) return 'One of these codes.';
  const text = schema.description ?? FORMATS[schema.format] ?? TYPES[type] ?? '';
  const bounds = [
    range(schema.minLength, schema.maxLength, 'character'),
    range(schema.minimum, schema.maximum, ''),
    range(schema.minItems, schema.maxItems, 'item'),
    schema.items === undefined ? '' : describeItems(schema.items),
  ].filter((each) => each !== '');
  return bounds.length === 0 ? (UNBOUNDED[text] ?? text) : `${text.replace(/\.$/, '')}, ${bounds.join(', ')}.`;
}

function describeItems({ format, maxLength }) {
  const kind = FORMATS[format]?.replace(/\.$/, '').replace(/^A/, 'a');
  return [kind && `each ${kind}`, maxLength && `each at most ${maxLength} characters`].filter(Boolean).join(', ');
}

function range(least, most, what) {
  const things = (count) => (what === '' ? count : `${count} ${what}${count === 1 ? '' : 's'}`);
  if (least !== undefined && most !== undefined) return `${least} to ${things(most)}`;
  if (most !== undefined) return `at most ${things(most)}`;
  if (least === undefined || (least === 1 && what === '')) return '';
  if (least === 1) return 'not empty';
  return `at least ${things(least)}`;
}
