import { parseAddress } from "../packet/address.ts"

/**
 * Whether a request's `Host` means this server. A page of elsewhere can make a browser ask us, under a name of its own that
 * leads here (DNS rebinding), and would read the answer: so only addresses count, `localhost` and `names`.
 */
export const isOwnHost = (header: string | undefined, names: ReadonlyArray<string>): boolean => {
  const match = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9_.-]{1,253}))(?::\d{1,5})?$/i.exec(header ?? "")
  if (match === null) return false
  if (match[1] !== undefined) return parseAddress(match[1]) !== undefined
  const host = match[2]!.toLowerCase()
  return parseAddress(host) !== undefined || host === "localhost" || names.includes(host)
}
