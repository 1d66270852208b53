import * as Result from "effect/Result"
import { isLoopback, parseAddress } from "../packet/address.ts"
import type { HostPort } from "./GatewayConfig.ts"
import { type Parsed, parseHostPort, parsePath } from "./values.ts"

/** Where a site's PostgreSQL is, and how it proves who it is. A password is never in it. */
export interface PostgresAddress {
  /** One or several, tried in this order, of which one is written to at a time. */
  readonly hosts: ReadonlyArray<HostPort>
  readonly user: string
  readonly database: string
  /** Whether each host must show a certificate for its name. */
  readonly tls: boolean
  /** A file with the authorities (PEM) that may have signed it; `null`: those that this host knows. */
  readonly authorities: string | null
  /** A file with the password; `null`: `PGPASSWORD`, or none. */
  readonly passwordFile: string | null
}

const maxHosts = 8
const example = "write for example postgres://sallyport@db1.corp:5432,db2.corp:5432/sallyport"

/**
 * `postgres://user@host:port,host:port/database?sslrootcert=…&password_file=…`, all but a host may be left out. Complaints
 * quote nothing of it: any part may be one of a password.
 */
export const parsePostgresAddress = (text: string): Parsed<PostgresAddress> => {
  if (/^\w*:\/\/[^@?]*:[^@?]*@/.test(text)) {
    return complain(
      "a password stands in the address, where others may read it",
      "put it into a file and name that behind ?password_file=, or into the environment as PGPASSWORD"
    )
  }
  const parts = /^postgres(?:ql)?:\/\/(?:([^/?#@]+)@)?([^/?#@]+)(?:\/([^/?#]*))?(?:\?([^#]*))?$/.exec(text)
  if (parts === null) return complain("this is not the address of a PostgreSQL", example)
  const user = decode(parts[1] ?? "sallyport")
  const database = decode(parts[3] ?? "") || user
  if (!isName(user) || !isName(database)) return complain("its user or its database is not a name", example)

  const hosts: Array<HostPort> = []
  for (const item of parts[2]!.split(",")) {
    const host = parseHostPort(item, 5432)
    if (Result.isFailure(host)) return complain(`its host ${hosts.length + 1} is not host:port`, example)
    hosts.push(host.success)
  }
  if (hosts.length > maxHosts) return complain(`it has ${hosts.length} hosts`, `name ${maxHosts} at most`)

  const given = new Map<string, string>()
  for (const item of (parts[4] ?? "").split("&").filter((item) => item !== "")) {
    const [name = "", value = ""] = item.split(/=(.*)/s)
    given.set(name, decode(value))
  }
  const mode = take(given, "sslmode") ?? "verify-full"
  const authorities = take(given, "sslrootcert")
  const passwordFile = take(given, "password_file")
  if (given.size > 0) return complain("it has an unknown option", "use sslmode, sslrootcert and password_file only")
  for (const path of [authorities, passwordFile]) {
    const parsed = parsePath(4_000)(path ?? "/")
    if (Result.isFailure(parsed)) return complain("a file of it is not an absolute path", "start it with /")
  }
  if (mode !== "verify-full" && mode !== "disable") {
    return complain("a certificate is always verified in full", "leave sslmode out, or write sslmode=verify-full")
  }
  const far = hosts.find(({ host }) => !isOnThisHost(host))
  if (mode === "disable" && far !== undefined) {
    return complain(`sslmode=disable would send everything to ${far.host} in the clear`, "leave it out")
  }
  return Result.succeed({
    hosts,
    user,
    database,
    tls: mode === "verify-full",
    authorities: authorities ?? null,
    passwordFile: passwordFile ?? null
  })
}

const complain = (cause: string, fix: string): Parsed<never> => Result.fail({ cause, fix })

const take = (from: Map<string, string>, name: string): string | undefined => {
  const value = from.get(name)
  from.delete(name)
  return value
}

/** What cannot be decoded is no name and no path, either. */
const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return "\0"
  }
}

const isName = (text: string): boolean => /^[\w.@-]{1,63}$/.test(text)

export const isOnThisHost = (host: string): boolean => {
  const address = parseAddress(host)
  return host === "localhost" || (address !== undefined && isLoopback(address))
}
