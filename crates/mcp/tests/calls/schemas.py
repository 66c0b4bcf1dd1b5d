"""Checks schemas and instances, a JSON object a line: name, schema, instances."""

import json
import sys

from jsonschema import Draft202012Validator

schemas = instances = 0
for line in sys.stdin:
    case = json.loads(line)
    Draft202012Validator.check_schema(case["schema"])
    validator = Draft202012Validator(case["schema"])
    schemas += 1
    for instance in case["instances"]:
        error = next(validator.iter_errors(instance), None)
        if error is not None:
            print(f"{case['name']}: {error.message} at {error.json_path}: {json.dumps(instance)}")
            sys.exit(1)
        instances += 1
print(f"{schemas} schemas, {instances} instances")
