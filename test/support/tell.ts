import type { Command } from "../../src/dataplane/commands.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import type { Engine } from "../../src/dataplane/engine/engine.ts"

/** How an engine of its own is told commands, without a data plane around it: main's decisions, carried out at once. */
export const teller =
  (engine: Engine, desired = new DesiredState()) =>
  (command: Command, now: number, wall: number): void => {
    for (const order of desired.apply(command)) engine.execute(order, now, wall)
  }
