import { formatHostPort } from "../packet/endpoint.ts"

/** The DNS servers that a name is looked up at. */
export interface ResolverSet {
  readonly servers: ReadonlyArray<ResolverServer>
  readonly order: ResolverOrder
}

/**
 * Which of the living servers is asked first: the one that is listed first, or the one that answers quickest.
 *
 * `fallback` is the default: what stands second in a list is often no equal (a public server behind the one that knows
 * the private names), and its NXDOMAIN would be believed.
 */
export type ResolverOrder = "fallback" | "fastest"

/** A server, by its address (a link-local one with its zone), never by a name that would have to be looked up first. */
export type ResolverServer = { readonly address: string; readonly port: number } & (
  | { readonly transport: "udp" | "tcp" }
  /** RFC 7858. */
  | { readonly transport: "tls"; readonly identity: ServerIdentity }
  /** RFC 8484: POST to `path`. */
  | { readonly transport: "https"; readonly identity: ServerIdentity; readonly path: string }
)

/** What a server must prove; there is no way to believe any server (RFC 8310 §5: strict). */
export type ServerIdentity =
  /** A certificate of a known authority for this DNS name or address. */
  | { readonly _tag: "Name"; readonly name: string }
  /** The SHA-256 of its certificate's SubjectPublicKeyInfo (RFC 7858 §4.2) in base64, whoever signed it. */
  | { readonly _tag: "Pin"; readonly sha256: string }

/** As in the configuration; of a server over UDP only address and port. */
export const formatServer = (server: ResolverServer): string => {
  const at = formatHostPort(server.address, server.port)
  switch (server.transport) {
    case "udp":
      return at
    case "tcp":
      return `tcp://${at}`
    case "tls":
      return `tls://${at}${formatIdentity(server)}`
    case "https":
      return `https://${at}${server.path}${formatIdentity(server)}`
  }
}

const formatIdentity = (server: { readonly address: string; readonly identity: ServerIdentity }): string => {
  if (server.identity._tag === "Pin") return `#sha256/${server.identity.sha256}`
  return server.identity.name === server.address ? "" : `#${server.identity.name}`
}
