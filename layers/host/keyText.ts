import { x25519Public } from "../dataplane/nodePrimitives.ts"

/** The public key of a private one, both base64. */
export const publicKeyOf = (privateKey: string): string =>
  Buffer.from(x25519Public(Buffer.from(privateKey, "base64"))).toString("base64")
