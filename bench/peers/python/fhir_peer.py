"""What a user of Python has: each resource read into its model by fhir.resources, and written again. Prints the CPU of one in
microseconds. It converts nothing: this is half of the work.

    fhir_peer.py RESOURCES.ndjson
"""

import sys
import time
from pathlib import Path

from fhir.resources.R4B import get_fhir_model_class

lines = Path(sys.argv[1]).read_text().splitlines()
model = get_fhir_model_class("Observation")
model.model_validate_json(lines[0]).model_dump_json()
began = time.process_time()
for line in lines:
    model.model_validate_json(line).model_dump_json()
print((time.process_time() - began) / len(lines) * 1e6)
