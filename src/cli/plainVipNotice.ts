import { type VrrpState, vrrpStateIn } from "../shared/vrrpState.ts"
import type { ControlRequest } from "./ControlClient.ts"
import { plainSocket } from "./plainStatus.ts"

export interface VipNotice {
  readonly state: VrrpState
  /** Path of the gateway's control socket. */
  readonly socket: string
}

/**
 * What `vip-notify [--socket PATH] STATE` tells, read without the framework of the command line: clients wait until the
 * gateway knows. `null` for everything else, which the command in `vipNotify.ts` is for.
 */
export const plainVipNotice = (
  argv: ReadonlyArray<string>,
  environment: Readonly<Record<string, string | undefined>>
): VipNotice | null => {
  const [command, ...words] = argv
  if (command !== "vip-notify") return null
  const flags = words[0] === "--socket" ? words.splice(0, 2) : []
  const socket = plainSocket(flags, environment)
  const state = vrrpStateIn(words)
  return state === undefined || socket === null ? null : { state, socket }
}

/** The answer is a text. */
export const vipRequest = (state: VrrpState): ControlRequest => ({
  method: "POST",
  path: "/v1/vip",
  body: JSON.stringify({ state })
})
