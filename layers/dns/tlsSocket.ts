import * as crypto from "node:crypto"
import * as net from "node:net"
import * as tls from "node:tls"
import type { ResolverServer, ServerIdentity } from "../../src/model/ResolverSet.ts"
import { authorities } from "../host/tlsAuthorities.ts"

/** Without progress for so long a connection is given up. */
const connectMs = 5_000

/**
 * A TLS connection to a DNS server that has proved who it is when `onReady` is called; until then nothing may be written
 * to it. A server that proves nothing ends in the socket's `error`.
 */
export const connectTls = (
  server: Extract<ResolverServer, { readonly identity: ServerIdentity }>,
  protocols: ReadonlyArray<string>,
  onReady: (socket: tls.TLSSocket) => void
): tls.TLSSocket => {
  const { address: host, identity, port } = server
  const socket = tls.connect({
    host,
    port,
    ALPNProtocols: [...protocols],
    minVersion: "TLSv1.2",
    ...(identity._tag === "Pin"
      ? { rejectUnauthorized: false }
      : {
          secureContext: authorities(),
          // An address is no server name (RFC 6066 §3).
          ...(net.isIP(identity.name) === 0 ? { servername: identity.name } : {}),
          checkServerIdentity: (_host: string, certificate: tls.PeerCertificate) =>
            tls.checkServerIdentity(identity.name, certificate)
        })
  })
  const giveUp = (): void => {
    socket.destroy(new Error(`no answer within ${connectMs} ms`))
  }
  socket.setTimeout(connectMs, giveUp)
  socket.once("secureConnect", () => {
    socket.setTimeout(0, giveUp)
    const problem = identity._tag === "Pin" ? pinProblem(socket, identity.sha256) : null
    if (problem === null) onReady(socket)
    else socket.destroy(new Error(problem))
  })
  return socket
}

const pinProblem = (socket: tls.TLSSocket, pin: string): string | null => {
  const key = socket.getPeerX509Certificate()?.publicKey.export({ type: "spki", format: "der" })
  if (key === undefined) return "it shows no certificate"
  const sha256 = crypto.createHash("sha256").update(key).digest("base64")
  return sha256 === pin ? null : `its key is not the pinned one (it has sha256/${sha256})`
}
