import { Clinik } from '@clinikapi/sdk';
const clinik = new Clinik(process.env.CLINIKAPI_SECRET_KEY!);
async function waitForJob(jobId: string, intervalMs = 5000): Promise<void> {
  while (true) {
    const { data: job } = await clinik.bulk.getJob(jobId);
    if (job.status === 'completed') { console.log(`Job done. Download: ${job.downloadUrl}`); break; }
    if (job.status === 'failed') { console.error('Job failed:', job.errors); break; }
    console.log(`Status: ${job.status} (${job.processedRecords}/${job.totalRecords})`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
// Up to here as documented, letter by letter.
await waitForJob(process.argv[2]!);
