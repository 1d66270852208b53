/** OpenSSL's EVP interface as the running process exports it; each throws when a function of it is missing. */
import { bind } from "./ffi.ts"

/** The packet cipher. */
export const bindEvp = () => ({
  newContext: bind("uintptr_t EVP_CIPHER_CTX_new()"),
  freeContext: bind("void EVP_CIPHER_CTX_free(uintptr_t)"),
  chacha20Poly1305: bind("uintptr_t EVP_chacha20_poly1305()"),
  encryptInit: bind("int EVP_EncryptInit_ex(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)"),
  decryptInit: bind("int EVP_DecryptInit_ex(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)"),
  encryptUpdate: bind("int EVP_EncryptUpdate(uintptr_t, uintptr_t, uintptr_t, uintptr_t, int)"),
  decryptUpdate: bind("int EVP_DecryptUpdate(uintptr_t, uintptr_t, uintptr_t, uintptr_t, int)"),
  encryptFinal: bind("int EVP_EncryptFinal_ex(uintptr_t, uintptr_t, uintptr_t)"),
  decryptFinal: bind("int EVP_DecryptFinal_ex(uintptr_t, uintptr_t, uintptr_t)"),
  control: bind("int EVP_CIPHER_CTX_ctrl(uintptr_t, int, int, uintptr_t)")
})

export type Evp = ReturnType<typeof bindEvp>

/** Digests. */
export const bindBlake2s = () => ({
  fetch: bind("uintptr_t EVP_MD_fetch(uintptr_t, str, uintptr_t)"),
  digest: bind("int EVP_Digest(uintptr_t, size_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)")
})

/** BLAKE2s with a key of its own (RFC 7693 §2.9), which is no HMAC. */
export const bindBlake2sMac = () => ({
  fetch: bind("uintptr_t EVP_MAC_fetch(uintptr_t, str, uintptr_t)"),
  newContext: bind("uintptr_t EVP_MAC_CTX_new(uintptr_t)"),
  setParameters: bind("int EVP_MAC_CTX_set_params(uintptr_t, uintptr_t)"),
  init: bind("int EVP_MAC_init(uintptr_t, uintptr_t, size_t, uintptr_t)"),
  update: bind("int EVP_MAC_update(uintptr_t, uintptr_t, size_t)"),
  final: bind("int EVP_MAC_final(uintptr_t, uintptr_t, uintptr_t, size_t)")
})

export type EvpBlake2sMac = ReturnType<typeof bindBlake2sMac>

export type EvpBlake2s = ReturnType<typeof bindBlake2s>

/** Key agreement. */
export const bindX25519 = () => ({
  newPrivate: bind("uintptr_t EVP_PKEY_new_raw_private_key(int, uintptr_t, uintptr_t, size_t)"),
  newPublic: bind("uintptr_t EVP_PKEY_new_raw_public_key(int, uintptr_t, uintptr_t, size_t)"),
  getPublic: bind("int EVP_PKEY_get_raw_public_key(uintptr_t, uintptr_t, uintptr_t)"),
  freeKey: bind("void EVP_PKEY_free(uintptr_t)"),
  newContext: bind("uintptr_t EVP_PKEY_CTX_new(uintptr_t, uintptr_t)"),
  freeContext: bind("void EVP_PKEY_CTX_free(uintptr_t)"),
  deriveInit: bind("int EVP_PKEY_derive_init(uintptr_t)"),
  /** The last argument asks to check the peer's key, which for X25519 is to look at its length. */
  setPeer: bind("int EVP_PKEY_derive_set_peer_ex(uintptr_t, uintptr_t, int)"),
  derive: bind("int EVP_PKEY_derive(uintptr_t, uintptr_t, uintptr_t)"),
  clearErrors: bind("void ERR_clear_error()")
})

export type EvpX25519 = ReturnType<typeof bindX25519>
