import type { Push } from "../../control/firezone/pushes.ts"
import type { Command } from "../../dataplane/commands.ts"

/** What a client's session wants done. */
export type Action =
  | { readonly _tag: "Send"; readonly message: Push }
  | { readonly _tag: "Command"; readonly command: Command }
  /** This host's tunnel addresses, and the networks that it routes into the tunnel. */
  | {
      readonly _tag: "Configure"
      readonly tunnel4: string
      readonly tunnel6: string
      readonly networks: ReadonlyArray<string>
    }
  /** The gateway has the name: packets to its proxy IPs go through from now on. */
  | { readonly _tag: "Ready"; readonly domain: string }
  | { readonly _tag: "Log"; readonly message: string }
  | { readonly _tag: "End"; readonly reason: string }

/** What a question for a name under a resource is answered with. */
export interface NameAnswer {
  readonly proxyIps: ReadonlyArray<string>
  /** Whether the gateway has it; else `Ready` will tell. */
  readonly ready: boolean
  readonly actions: ReadonlyArray<Action>
}

/** Collects them in order, until they are taken. */
export class Actions {
  private collected: Array<Action> = []

  add(action: Action): void {
    this.collected.push(action)
  }

  command(command: Command): void {
    this.collected.push({ _tag: "Command", command })
  }

  send(message: Push): void {
    this.collected.push({ _tag: "Send", message })
  }

  log(message: string): void {
    this.collected.push({ _tag: "Log", message })
  }

  take(): ReadonlyArray<Action> {
    const { collected } = this
    this.collected = []
    return collected
  }
}
