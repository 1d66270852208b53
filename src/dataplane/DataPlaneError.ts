import * as Schema from "effect/Schema"

/** The data plane could not start, or cannot go on. `message` is one line: what failed, why, and the fix. */
export class DataPlaneError extends Schema.TaggedError<DataPlaneError>()("DataPlaneError", {
  message: Schema.String
}) {}
