/** What the driver, the network or PostgreSQL itself says, as one line with the place, the cause and the fix. */
import * as Schema from "effect/Schema"
import { SqlError } from "effect/sql/SqlError"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { tlsProblems } from "../host/tlsProblems.ts"

type Reason = SharedStoreError["reason"]

export const sharedStoreError = (reason: Reason, at: string, cause: string, fix: string): SharedStoreError =>
  new SharedStoreError({ reason, message: `PostgreSQL ${at}: ${cause} — ${fix}` })

export const silent = (at: string, millis: number): SharedStoreError =>
  sharedStoreError("Silent", at, `no answer within ${millis / 1_000} s`, "see whether it hangs, and the way to it")

/** Whatever the driver failed with at the host `at`. */
export const explainSql = (at: string, error: unknown): SharedStoreError => {
  if (Schema.isSchemaError(error)) {
    const cause = `a number of its tables makes no sense: ${oneLine(error.message)}`
    return sharedStoreError("Failed", at, cause, "see what else writes to its schema sallyport, or put a backup back")
  }
  const { code, text } = innermost(error)
  const tls = tlsProblems[code]
  if (tls !== undefined) {
    return sharedStoreError("Refused", at, tls, "give it one for this name, or name its authority behind sslrootcert=")
  }
  const cause = `${text}${code === "" || text.includes(code) ? "" : ` (${code})`}`
  const [, reason, fix] = known.find(([key]) => key.test(code === "" ? text : code)) ?? otherwise(error)
  return sharedStoreError(reason, at, cause, fix)
}

const seePassword = "see the password (password_file in the address, or PGPASSWORD) and its pg_hba.conf"

/** By SQLSTATE, by the error code of the system, or by what the driver says where there is neither. */
const known: ReadonlyArray<readonly [RegExp, Reason, string]> = [
  [/^28/, "Refused", seePassword],
  [/^42501$/, "Refused", "let the user of the address own the database, or its schema sallyport"],
  [/^3D000$/, "Refused", "make the database with createdb, owned by the user of the address"],
  [/^25006$/, "Unreachable", "make it writable again, or name the one that is"],
  [/^53100$/, "Failed", "free some space on its disk"],
  [/^53300$/, "Unreachable", "raise its max_connections, or let fewer connect"],
  [/^57014$|^55P03$/, "Silent", "see what keeps it busy"],
  [/^57P/, "Unreachable", "wait for it, or start it"],
  [/^ENOTFOUND$|^EAI_/, "Unreachable", "see its name, and DNS"],
  [/^E[A-Z]+$/, "Unreachable", "see whether it runs there, and the way to it"],
  [/^Connection timed out$/, "Silent", "see whether it hangs, and the way to it"],
  [/does not support TLS/, "Refused", "set ssl = on, with a certificate for its name, in its postgresql.conf"]
]

const otherwise = (error: unknown): readonly [null, Reason, string] => {
  switch (error instanceof SqlError ? error.reason._tag : "") {
    case "AuthenticationError":
      return [null, "Refused", seePassword]
    case "ConnectionError":
      return [null, "Unreachable", "see its log, and whether another program has this port"]
    default:
      return [null, "Failed", "see its log"]
  }
}

/** The first error that has a code, else the last one; the driver wraps what it was told. */
const innermost = (error: unknown): { readonly code: string; readonly text: string } => {
  let inner: unknown = error
  for (let depth = 0; depth < 5 && codeOf(inner) === ""; depth++) {
    const next = within(inner)
    if (next === undefined) break
    inner = next
  }
  return { code: codeOf(inner), text: oneLine(inner instanceof Error ? inner.message : String(inner)) }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : ""

const within = (error: unknown): unknown => {
  if (error instanceof SqlError) return error.reason
  // Several addresses of one name, each with an error of its own.
  if (error instanceof AggregateError) return error.errors[0]
  return error instanceof Error ? error.cause : undefined
}

/** Texts of a server are as long as it likes, with anything in them. */
export const oneLine = (text: string): string => {
  const line = text
    .slice(0, 300)
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ")
    .trim()
  return line === "" ? "unknown cause" : line
}
