/** Extended DNS errors (RFC 8914): why an answer is what it is, for people and programs that look. */
import { concat } from "../packet/bytes.ts"

export interface ExtendedError {
  /** See `extendedErrorCode`. */
  readonly code: number
  /** ASCII, short, one line; nothing about other clients, their names or the servers behind us. */
  readonly text: string
}

export const extendedErrorCode = {
  Other: 0,
  StaleAnswer: 3,
  CachedError: 13,
  Blocked: 15,
  Filtered: 17,
  Prohibited: 18,
  StaleNameError: 19,
  NotSupported: 21,
  NoReachableServer: 22,
  NetworkError: 23
} as const

/** As an option of an OPT record (RFC 8914 §2). */
export const extendedErrorOption = ({ code, text }: ExtendedError): { code: number; data: Uint8Array } => ({
  code: optionCode,
  data: concat([Uint8Array.of(code >>> 8, code & 255), new TextEncoder().encode(text)])
})

const optionCode = 15
