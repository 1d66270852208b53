/** Why a server's certificate is not believed, by Node's error code. */
export const tlsProblems: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed (NODE_EXTRA_CA_CERTS names more authorities)",
  SELF_SIGNED_CERT_IN_CHAIN: "its authority is unknown (NODE_EXTRA_CA_CERTS names more authorities)",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its authority is unknown (NODE_EXTRA_CA_CERTS names more authorities)",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its authority is unknown (NODE_EXTRA_CA_CERTS names more authorities)",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name"
}
