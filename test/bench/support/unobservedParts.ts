/** What `unobserved.ts` puts in the place of the modules that tell what happens. */
import { Effect, Layer } from "effect"
import * as live from "../../../src/dataplane/engine/journal.ts"

/** Of the event log, and of what fills it. */
export const layer = Layer.empty

export const serveMonitor = () => Effect.succeed(Effect.succeed(null))
export const serveHealth = () => Effect.void

export class Journal extends live.Journal {
  constructor(...parameters: ConstructorParameters<typeof live.Journal>) {
    super(...parameters)
    const [{ sessions }] = parameters
    sessions.onEnded = () => {}
    this.flows.began = () => {}
    this.addresses.tried = () => {}
    this.addresses.replied = () => {}
  }

  override refused(): void {}
  override stranger(): void {}
  override tellDue(): void {}
}
