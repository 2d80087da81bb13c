import { Clinik } from '@clinikapi/sdk';
const clinik = new Clinik(process.env.CLINIKAPI_SECRET_KEY!);
// From here on as documented, letter by letter.
const ndjson = [
  JSON.stringify({ firstName: 'Jane', lastName: 'Doe', gender: 'female', birthDate: '1990-01-15' }),
  JSON.stringify({ firstName: 'John', lastName: 'Smith', gender: 'male', birthDate: '1985-06-20' }),
].join('\n');
const { data } = await clinik.bulk.import({ resourceType: 'Patient', data: ndjson });
console.log(data.jobId); // "job_xyz789"
