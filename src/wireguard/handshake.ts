/**
 * The two messages of a WireGuard handshake in both roles (whitepaper §5.4.2, §5.4.3), without their MACs. Every
 * function returns `undefined` for forged input and low-order points, having changed nothing.
 */
import { SymmetricState } from "./noise.ts"
import type { Primitives, X25519Secret } from "./primitives.ts"
import { initiationLength, messageInitiation, messageResponse, responseLength, writeWord } from "./protocol.ts"

/** The other side: its public key, the shared secret of both static keys, and the preshared key (zeros for none). */
export interface Remote {
  readonly publicKey: Uint8Array
  readonly staticSecret: Uint8Array
  readonly presharedKey: Uint8Array
}

/** What an initiator keeps until the response comes; `ephemeral` is to be freed then. */
export interface Initiated {
  readonly message: Uint8Array
  readonly ephemeral: X25519Secret
  readonly state: SymmetricState
}

/** An opened initiation whose sender is still to be looked up: `openTimestamp` finishes it. */
export interface Introduced {
  readonly senderKey: Uint8Array
  readonly ephemeral: Uint8Array
  readonly state: SymmetricState
}

/** Transport keys as seen by this side. Zero them once they are bound. */
export interface TransportKeys {
  readonly sending: Uint8Array
  readonly receiving: Uint8Array
}

export const createInitiation = (
  p: Primitives,
  identity: X25519Secret,
  remote: Remote,
  index: number,
  timestamp: Uint8Array
): Initiated | undefined => {
  const ephemeral = makeEphemeral(p)
  const secret = ephemeral.agree(remote.publicKey)
  if (secret === undefined) {
    ephemeral.free()
    return undefined
  }
  const message = new Uint8Array(initiationLength)
  writeWord(message, 0, messageInitiation)
  writeWord(message, 4, index)
  const state = SymmetricState.initial(p, remote.publicKey)
  message.set(ephemeral.publicKey, 8)
  state.mixHash(ephemeral.publicKey)
  state.mixKey(ephemeral.publicKey)
  message.set(state.seal(state.mixKeyAndDerive(secret), identity.publicKey), 40)
  secret.fill(0)
  message.set(state.seal(state.mixKeyAndDerive(remote.staticSecret), timestamp), 88)
  return { message, ephemeral, state }
}

/** Opens the sender's public key of an initiation (whose length and type were checked). */
export const openIntroduction = (
  p: Primitives,
  identity: X25519Secret,
  message: Uint8Array
): Introduced | undefined => {
  const state = SymmetricState.initial(p, identity.publicKey)
  const ephemeral = message.slice(8, 40)
  state.mixHash(ephemeral)
  state.mixKey(ephemeral)
  const secret = identity.agree(ephemeral)
  const senderKey =
    secret === undefined ? undefined : state.open(state.mixKeyAndDerive(secret), message.subarray(40, 88))
  secret?.fill(0)
  if (senderKey !== undefined) return { senderKey, ephemeral, state }
  state.clear()
  return undefined
}

/** Opens the timestamp of an introduced initiation: success proves that the sender holds its static key. */
export const openTimestamp = (introduced: Introduced, remote: Remote, message: Uint8Array): Uint8Array | undefined => {
  const { state } = introduced
  return state.open(state.mixKeyAndDerive(remote.staticSecret), message.subarray(88, 116))
}

/** Answers an initiation. `introduced.state` is used up. */
export const createResponse = (
  p: Primitives,
  introduced: Introduced,
  remote: Remote,
  index: number,
  receiver: number
): { readonly message: Uint8Array; readonly keys: TransportKeys } | undefined => {
  const { state } = introduced
  const ephemeral = makeEphemeral(p)
  const first = ephemeral.agree(introduced.ephemeral)
  const second = ephemeral.agree(remote.publicKey)
  ephemeral.free()
  if (first === undefined || second === undefined) {
    state.clear()
    return undefined
  }
  const message = new Uint8Array(responseLength)
  writeWord(message, 0, messageResponse)
  writeWord(message, 4, index)
  writeWord(message, 8, receiver)
  message.set(ephemeral.publicKey, 12)
  state.mixHash(ephemeral.publicKey)
  state.mixKey(ephemeral.publicKey)
  mixSecrets(state, first, second)
  message.set(state.seal(state.mixPresharedKey(remote.presharedKey), nothing), 44)
  const [receiving, sending] = state.split()
  return { message, keys: { sending, receiving } }
}

/** Reads the answer to `initiated`, which stays usable when the answer is forged. */
export const openResponse = (
  identity: X25519Secret,
  remote: Remote,
  initiated: Initiated,
  message: Uint8Array
): TransportKeys | undefined => {
  const ephemeral = message.slice(12, 44)
  const first = initiated.ephemeral.agree(ephemeral)
  const second = identity.agree(ephemeral)
  if (first === undefined || second === undefined) return undefined
  const state = initiated.state.clone()
  state.mixHash(ephemeral)
  state.mixKey(ephemeral)
  mixSecrets(state, first, second)
  if (state.open(state.mixPresharedKey(remote.presharedKey), message.subarray(44, 60)) === undefined) {
    state.clear()
    return undefined
  }
  const [sending, receiving] = state.split()
  return { sending, receiving }
}

const mixSecrets = (state: SymmetricState, first: Uint8Array, second: Uint8Array): void => {
  state.mixKey(first)
  state.mixKey(second)
  first.fill(0)
  second.fill(0)
}

const makeEphemeral = (p: Primitives): X25519Secret => {
  const secret = new Uint8Array(32)
  p.randomBytes(secret)
  const ephemeral = p.x25519(secret)
  secret.fill(0)
  return ephemeral
}

const nothing = new Uint8Array(0)
