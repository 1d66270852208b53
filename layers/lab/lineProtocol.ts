/**
 * How the lab talks with its helper processes: requests on standard input and answers on standard output, one JSON
 * object a line. A helper ends when its standard input does, so none outlives the lab.
 */
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"

export type Parameters = Readonly<Record<string, unknown>>
export type Handler = (parameters: Parameters) => unknown

/** Serves requests `{id, method, parameters}` with `{id, result}` or `{id, error}`; says `{ready: true}` first. */
export const serve = (handlers: Readonly<Record<string, Handler>>): void => {
  const input = createInterface({ input: process.stdin })
  input.on("line", (line) => {
    void answer(handlers, line)
  })
  input.on("close", () => process.exit(0))
  say({ ready: true })
}

/** One line for the lab. */
const say = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

export const text = (parameters: Parameters, key: string): string => {
  const value = parameters[key]
  if (typeof value !== "string") throw new TypeError(`"${key}" must be a string`)
  return value
}

export const number = (parameters: Parameters, key: string, otherwise?: number): number => {
  const value = parameters[key] ?? otherwise
  if (typeof value !== "number") throw new TypeError(`"${key}" must be a number`)
  return value
}

/** A list of strings; empty when it is left out. */
export const texts = (parameters: Parameters, key: string): ReadonlyArray<string> => {
  const value = parameters[key] ?? []
  if (!Array.isArray(value)) throw new TypeError(`"${key}" must be a list`)
  return value.map(String)
}

/** Runs `action` after a time; the result of this call takes it back. */
export const after = (milliseconds: number, action: () => void): (() => void) => {
  const cancelled = new AbortController()
  sleep(milliseconds, undefined, { signal: cancelled.signal }).then(action, () => {})
  return () => cancelled.abort()
}

/** The system's code of an error (`ENETUNREACH`), else its message. */
export const codeOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  return "code" in error && typeof error.code === "string" ? error.code : error.message
}

const answer = async (handlers: Readonly<Record<string, Handler>>, line: string): Promise<void> => {
  const request: { id: number; method: string; parameters: Parameters } = JSON.parse(line)
  const handler = handlers[request.method]
  try {
    if (handler === undefined) throw new Error(`no method "${request.method}"`)
    say({ id: request.id, result: (await handler(request.parameters)) ?? null })
  } catch (error) {
    say({ id: request.id, error: error instanceof Error ? error.message : String(error) })
  }
}
