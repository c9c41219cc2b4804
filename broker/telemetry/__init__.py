"""Floor 2: what people are told of the work – metrics and traces. It decorates ports from outside; nothing asks it."""
