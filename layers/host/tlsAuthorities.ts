import * as tls from "node:tls"

/**
 * Node's own authorities, those of NODE_EXTRA_CA_CERTS and the host's: a company's servers have the company's. Read once,
 * since it takes long.
 */
export const authorities = (): tls.SecureContext => {
  known ??= tls.createSecureContext({
    ca: [...tls.getCACertificates("default"), ...tls.getCACertificates("system")],
    minVersion: "TLSv1.2"
  })
  return known
}

let known: tls.SecureContext | null = null
