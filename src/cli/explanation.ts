import * as Schema from "effect/Schema"
import { printable } from "../events/printable.ts"
import { formatTarget, type Target } from "../model/Target.ts"

/** The parts of a packet's way, in order. */
const parts = [
  "client",
  "connection",
  "alias",
  "resource",
  "ports",
  "lookup",
  "destination",
  "route",
  "host",
  "gateway"
] as const

/** One thing that must be so. The first `no` is what stops the packet; only what `connection` says does not end the list. */
const Step = Schema.Struct({
  part: Schema.Literals(parts),
  ok: Schema.Literals(["yes", "no", "unknown"]),
  what: Schema.String,
  /** What to do about it; `null`: nothing. */
  fix: Schema.NullOr(Schema.String)
})
type Step = typeof Step.Type

/** The document of `sallyport explain --json`. Texts are ready for a terminal. */
export const Explanation = Schema.Struct({
  version: Schema.Literal(1),
  client: Schema.String,
  /** As in `formatTarget`. */
  target: Schema.String,
  /** `unknown`: nothing is in the way as far as is known, which is not all. */
  reaches: Schema.Literals(["yes", "no", "unknown"]),
  steps: Schema.Array(Step)
})
export type Explanation = typeof Explanation.Type

/** The steps so far. */
export class Way {
  private readonly steps: Array<Step> = []

  yes(part: Step["part"], what: string): this {
    return this.add({ part, ok: "yes", what, fix: null })
  }

  no(part: Step["part"], { fix, what }: { readonly what: string; readonly fix: string }): this {
    return this.add({ part, ok: "no", what, fix })
  }

  unknown(part: Step["part"], what: string): this {
    return this.add({ part, ok: "unknown", what, fix: null })
  }

  explanation(client: string, target: Target): Explanation {
    const worst = (["no", "unknown"] as const).find((ok) => this.steps.some((step) => step.ok === ok))
    return {
      version: 1,
      client: printable(client),
      target: printable(formatTarget(target)),
      reaches: worst ?? "yes",
      steps: this.steps
    }
  }

  /** Names come from the network. */
  private add({ fix, what, ...step }: Step): this {
    this.steps.push({ ...step, what: printable(what), fix: fix === null ? null : printable(fix) })
    return this
  }
}
