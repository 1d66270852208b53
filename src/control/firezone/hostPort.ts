import type { SocketAddress } from "../../model/SocketAddress.ts"
import { formatAddress, parseAddress } from "../../packet/address.ts"

/** `1.2.3.4:3478` or `[2001:db8::1]:3478` with the address in canonical text; `undefined` for anything else. */
export const parseHostPort = (text: string): SocketAddress | undefined => {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})$/.exec(text)
  if (match === null) return undefined
  const address = parseAddress(match[1] ?? match[2] ?? "")
  const port = Number(match[3])
  if (address === undefined || port < 1 || port > 65_535) return undefined
  if (match[1]?.includes(":") === false) return undefined
  return { address: formatAddress(address), port }
}

/** Where a portal with this WebSocket URL listens. */
export const portalEndpoint = (apiUrl: string): { readonly host: string; readonly port: number } => {
  const { hostname, port, protocol } = new URL(apiUrl)
  return { host: hostname.replaceAll(/[[\]]/g, ""), port: Number(port) || (protocol === "wss:" ? 443 : 80) }
}
