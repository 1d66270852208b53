/** A forwarded answer whose chain of aliases leads to a name of a resource: it ends in the client's proxy IPs. Pure. */
import { emptyMessage, type Message, type ResourceRecord } from "../../dns/message.ts"
import { canonicalName } from "../../dns/name.ts"
import { maxChain } from "../../dns/query.ts"
import { classInternet, rcode, recordType } from "../../dns/registry.ts"
import type { TunnelAnswer } from "../../dns/tunnelAnswer.ts"

export interface AliasOfResource {
  /** The CNAME records from the question's name on. */
  readonly chain: ReadonlyArray<ResourceRecord>
  /** What the last of them says. */
  readonly target: string
}

/** The first name along the chain that `covers` has; `undefined`: none. */
export const aliasOfResource = (
  domain: string,
  message: Message,
  covers: (name: string) => boolean
): AliasOfResource | undefined => {
  const chain: Array<ResourceRecord> = []
  let name = canonicalName(domain)
  while (chain.length < maxChain) {
    const alias = message.answers.find(
      (record) =>
        record.type === recordType.CNAME && record.class === classInternet && canonicalName(record.name) === name
    )
    if (alias?.data._tag !== "Name") return undefined
    chain.push(alias)
    name = canonicalName(alias.data.name)
    if (covers(name)) return { chain, target: name }
  }
  return undefined
}

/** The chain, and what the client is told of its end; `type`: A or AAAA, others have nothing there. */
export const endIn = ({ chain, target }: AliasOfResource, type: number, end: TunnelAnswer): TunnelAnswer => {
  const message = { ...emptyMessage, response: true }
  switch (end._tag) {
    case "Addresses": {
      const answers = end.addresses.map((address): ResourceRecord => ({
        name: target,
        type,
        class: classInternet,
        ttl: end.ttl,
        data: { _tag: "Address", address }
      }))
      return { _tag: "Forwarded", message: { ...message, answers: [...chain, ...answers] } }
    }
    case "NoData":
      return { _tag: "Forwarded", message: { ...message, answers: chain } }
    case "NameError":
      return { _tag: "Forwarded", message: { ...message, answers: chain, rcode: rcode.NXDomain } }
    default:
      return end
  }
}
