/** The `demo` command on this machine: in namespaces made for it, with root's rights or in a user namespace. */
import * as Effect from "effect/Effect"
import type { DemoOptions } from "../../src/cli/Programs.ts"
import { demo } from "../../src/lab/demo/demo.ts"
import type { LabError } from "../../src/lab/demo/Lab.ts"
import type { StoryFailed } from "../../src/lab/demo/StoryResult.ts"
import * as Lab from "./Lab.ts"
import { runUnprivileged } from "./privileges.ts"

export const runDemo = (options: DemoOptions): Effect.Effect<void, StoryFailed | LabError> =>
  Effect.flatMap(runUnprivileged, (code) =>
    // The other process has told everything, its failure too.
    code === null
      ? demo(options).pipe(Effect.provide(options.portal ? Lab.layerOf("wide") : Lab.layer))
      : Effect.sync(() => process.exit(code))
  )
