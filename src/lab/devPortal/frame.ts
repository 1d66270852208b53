/** The Phoenix V1 envelope, the server's side: JSON objects with topic, event, payload, ref. */

export interface Frame {
  readonly topic: string
  readonly event: string
  readonly payload: unknown
  /** Given back in the reply; `null`: the sender wants none. */
  readonly ref: number | string | null
}

/** Longer frames are refused unread. */
export const maxFrameLength = 1 << 20

/** `null` for what is no frame. */
export const decodeFrame = (text: string): Frame | null => {
  if (text.length > maxFrameLength) return null
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof value !== "object" || value === null) return null
  const { topic, event, payload, ref } = value as Partial<Record<keyof Frame, unknown>>
  if (!isWord(topic) || !isWord(event)) return null
  if (ref !== undefined && ref !== null && typeof ref !== "number" && !isWord(ref)) return null
  return { topic, event, payload: payload ?? null, ref: ref ?? null }
}

export const encodePush = (topic: string, event: string, payload: unknown): string =>
  JSON.stringify({ topic, event, payload, ref: null })

export const encodeReply = (
  to: Pick<Frame, "topic" | "ref">,
  status: "ok" | "error",
  response: Readonly<Record<string, unknown>>
): string => JSON.stringify({ topic: to.topic, event: "phx_reply", payload: { status, response }, ref: to.ref })

const isWord = (value: unknown): value is string => typeof value === "string" && value.length <= 64
