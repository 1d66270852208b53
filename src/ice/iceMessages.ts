/** The two messages of ICE checks (RFC 8445 §7), in the form that the portal's peers demand. */
import type { IceCredentials } from "../model/AccessRequest.ts"
import type { TransportAddress } from "../packet/transportAddress.ts"
import type { StunMessage } from "./stun.ts"
import { StunAttribute, StunMethod } from "./stunProtocol.ts"
import { StunWriter } from "./StunWriter.ts"

export type IceRole = "controlling" | "controlled"

/** The USERNAME of requests that come to `local`, by which a request finds its agent. */
export const usernameFrom = (local: IceCredentials, remote: IceCredentials): string =>
  `${local.username}:${remote.username}`

export interface CheckRequest {
  readonly transaction: Uint8Array
  /** As the peer knows it: the peer's fragment first. */
  readonly username: string
  readonly role: IceRole
  readonly tieBreaker: Uint8Array
  /** That of a peer-reflexive candidate. */
  readonly priority: number
  readonly nominate: boolean
}

export const writeCheck = (request: CheckRequest, remoteKey: Uint8Array): Uint8Array => {
  const writer = new StunWriter("request", StunMethod.binding, request.transaction)
    .text(StunAttribute.username, request.username)
    .number(StunAttribute.priority, request.priority)
    .value(
      request.role === "controlling" ? StunAttribute.iceControlling : StunAttribute.iceControlled,
      request.tieBreaker
    )
  if (request.nominate) writer.flag(StunAttribute.useCandidate)
  return writer.finish(remoteKey)
}

export const writeAnswer = (transaction: Uint8Array, mapped: TransportAddress, localKey: Uint8Array): Uint8Array =>
  new StunWriter("success", StunMethod.binding, transaction)
    .address(StunAttribute.xorMappedAddress, mapped)
    .finish(localKey)

/** A Binding request in the form of a check; its integrity is not verified here. */
export const isCheck = (message: StunMessage): boolean =>
  message.class === "request" &&
  message.method === StunMethod.binding &&
  message.hasIntegrity &&
  message.has(StunAttribute.username) &&
  message.number(StunAttribute.priority) !== undefined

/** A success answer to a check; its integrity is not verified here. */
export const isAnswer = (message: StunMessage): boolean =>
  message.class === "success" &&
  message.method === StunMethod.binding &&
  message.hasIntegrity &&
  message.address(StunAttribute.xorMappedAddress) !== undefined
