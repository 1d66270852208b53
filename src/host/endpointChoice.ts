import type { SocketAddress } from "../model/SocketAddress.ts"

/** An address gets this many initiations before another one of the same name is tried. */
const patience = 3

/**
 * Which of the addresses that a name has now is dialled next, when `unanswered` initiations to `current` in a row were not
 * answered. `null`: go on with the current one. An address that the name no longer has is left at once.
 */
export const chooseEndpoint = (
  current: SocketAddress,
  addresses: ReadonlyArray<SocketAddress>,
  unanswered: number
): SocketAddress | null => {
  const at = addresses.findIndex(({ address }) => address === current.address)
  if (at < 0) return addresses[0] ?? null
  return unanswered >= patience && addresses.length > 1 ? addresses[(at + 1) % addresses.length]! : null
}
