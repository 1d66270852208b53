import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import { quote, type Problem } from "./problem.ts"
import { suggestFix } from "./suggest.ts"
import type { YamlSource } from "./yamlSource.ts"

/** More are not looked at: locating each costs time, and only a few are shown. */
const maxIssues = 200

/** What to write under a key, and what to say when no key is known. */
export interface Examples {
  readonly keys: Readonly<Record<string, string>>
  readonly none: string
}

/** A schema's issue as problems at their places in the file; `examples` default to those of `sallyport.yaml`. */
export const issueProblems = (
  issue: SchemaIssue.Issue,
  source: YamlSource,
  examples: Examples = gatewayExamples
): ReadonlyArray<Problem> => {
  const example = (path: ReadonlyArray<PropertyKey>) => exampleOf(examples, path)
  const problems: Array<Problem> = []
  const walk = (issue: SchemaIssue.Issue, path: ReadonlyArray<PropertyKey>): void => {
    if (problems.length >= maxIssues) return
    switch (issue._tag) {
      case "Pointer":
        return walk(issue.issue, [...path, ...issue.path])
      case "Filter":
      case "Encoding":
        return walk(issue.issue, path)
      case "Composite":
        return issue.issues.forEach((inner) => walk(inner, path))
      case "AnyOf":
        if (issue.issues.length > 0) return issue.issues.forEach((inner) => walk(inner, path))
        break
      case "UnexpectedKey": {
        const known = keysOf(issue.ast)
        const key = String(path.at(-1))
        problems.push({
          ...source.locate(path, true),
          cause: `unknown key ${quote(key)}${inside(path.slice(0, -1))}`,
          fix: suggestFix(key, known, `use one of: ${known.join(", ")}`)
        })
        return
      }
      case "MissingKey": {
        const key = String(path.at(-1))
        problems.push({
          ...source.locate(path.slice(0, -1), true),
          cause: `${key} is missing${inside(path.slice(0, -1))}`,
          fix: example(path)
        })
        return
      }
      case "InvalidValue": {
        const fix = issue.annotations?.["fix"]
        problems.push({
          ...source.locate(path),
          cause: `${nameOf(path)}: ${issue.annotations?.message ?? "not a valid value"}`,
          fix: typeof fix === "string" && fix !== "" ? fix : example(path)
        })
        return
      }
    }
    const expected = "ast" in issue ? expectation(issue.ast) : "another value"
    problems.push({
      ...source.locate(path),
      cause: `${nameOf(path)}: expected ${expected}, found ${describe(SchemaIssue.hasInput(issue) ? issue.input : null)}`,
      fix: exampleOf(examples, path, "ast" in issue ? expectation(issue.ast) : "another value")
    })
  }
  walk(issue, [])
  return problems
}

const gatewayExamples: Examples = {
  none: "write endpoint:, clients: and resources:, each at the start of a line",
  keys: {
    endpoint: "endpoint: vpn.example.com:51820",
    listen: "listen: 51820",
    resolvers: "resolvers: { corp: [udp://10.0.0.53] }",
    clients: 'clients: { alice-laptop: { public_key: "…=", groups: [eng] } }',
    resources: "resources: { gitlab: { name: gitlab.corp.internal, allow: [eng] } }",
    zones: "zones: { corp.internal: corp }, a resolver set, or { resolver: corp, allow: [eng] }",
    search: "search: [corp.internal]",
    records: "records: { nas.home.arpa: { a: 192.168.1.5 } }",
    a: "a: 10.20.0.5, or a list",
    aaaa: 'aaaa: "fd12:3456::5", or a list',
    cname: "cname: gitlab.corp.internal",
    txt: "txt: any text, or a list",
    block: "block: [/etc/sallyport/blocked.txt]",
    tests: "tests: [{ client: alice-laptop, reach: gitlab.corp.internal:443, expect: allowed }]",
    client: "client: alice-laptop",
    reach: "reach: gitlab.corp.internal:443",
    expect: "expect: allowed, or denied",
    resolver: "resolver: corp, a set of resolvers",
    network: "network: { tunnel_ipv4: 100.64.0.0/11 }",
    public_key: 'public_key: "…=", as printed by wg pubkey',
    preshared_key: 'preshared_key: "…=", as printed by wg genpsk',
    groups: "groups: [eng]",
    name: "name: gitlab.corp.internal",
    cidr: "cidr: 10.20.0.0/16",
    ports: "ports: [tcp/443, udp/8000-8100, icmp]",
    ip_family: "ip_family: ipv4",
    allow: "allow: [eng], a list of groups or clients",
    expires: "expires: 2027-01-31",
    mtu: "mtu: 1280",
    state_dir: "state_dir: /var/lib/sallyport"
  }
}

const exampleOf = ({ keys, none }: Examples, path: ReadonlyArray<PropertyKey>, expected?: string): string => {
  if (expected === "true or false") return `write ${nameOf(path)}: true or ${nameOf(path)}: false`
  for (const step of path.toReversed()) {
    const known = typeof step === "string" && Object.hasOwn(keys, step) ? keys[step] : undefined
    if (known !== undefined) return `write for example ${known}`
  }
  if (path.length > 0 && expected !== undefined) return `write ${nameOf(path)}: and ${expected}`
  return none
}

const nameOf = (path: ReadonlyArray<PropertyKey>): string => {
  const key = path.findLast((step) => Number.isNaN(Number(step)))
  return key === undefined ? "the file" : String(key)
}

const inside = (path: ReadonlyArray<PropertyKey>): string =>
  path.length === 0 ? "" : ` in ${path.map(String).join(".")}`

const keysOf = (ast: SchemaAST.AST): ReadonlyArray<string> =>
  ast._tag === "Objects" ? ast.propertySignatures.map((property) => String(property.name)) : []

const expectation = (ast: SchemaAST.AST): string => {
  switch (ast._tag) {
    case "String":
      return "text"
    case "Number":
      return "a number"
    case "Boolean":
      return "true or false"
    case "Objects":
      return "keys with values"
    case "Arrays":
      return "a list"
    default:
      return "another value"
  }
}

const describe = (value: unknown): string => {
  if (value === null || value === undefined) return "nothing"
  if (Array.isArray(value)) return "a list"
  if (typeof value === "object") return "keys with values"
  if (typeof value === "string") return quote(value)
  return typeof value === "number" || typeof value === "boolean" ? `${value}` : typeof value
}
