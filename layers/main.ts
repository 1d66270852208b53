import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Effect from "effect/Effect"
import { type Failure, Programs } from "../src/cli/Programs.ts"
import { runCli } from "./runCli.ts"

class NotInThisBuild extends Schema.TaggedError<NotInThisBuild>()("NotInThisBuild", { message: Schema.String }) {}

const notBuilt = Effect.fail(
  new NotInThisBuild({ message: "this build cannot do that yet — use check, status or keys" })
)

/** Until the programs are put together their commands fail and say so. */
const unavailable: Layer.Layer<Programs> = Layer.succeed(Programs, {
  up: () => notBuilt,
  connect: () => notBuilt,
  demo: () => notBuilt
})

/** The composition root: what `bin.ts` starts. */
export const main = (argv: ReadonlyArray<string>, programs: Layer.Layer<Programs, Failure> = unavailable): void =>
  runCli(argv, programs)
