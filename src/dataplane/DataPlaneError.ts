import * as Schema from "effect/Schema"

/** The data plane could not start. `message` is one line: what failed, why, and the fix. */
export class DataPlaneError extends Schema.TaggedError<DataPlaneError>()("DataPlaneError", {
  message: Schema.String
}) {}
