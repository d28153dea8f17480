"""Prints the numbers of a directory of event files as TensorBoard reads them: {name: [[step, value]]}."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
names = events.Tags()["scalars"]
print(json.dumps({name: [[e.step, e.value] for e in events.Scalars(name)] for name in names}))
