/** A forwarded answer whose chain of aliases leads to a name of a resource: it ends in the client's proxy IPs. Pure. */
import type { Message } from "../../dns/message.ts"
import { canonicalName, type DomainText } from "../../dns/name.ts"
import { maxChain } from "../../dns/query.ts"
import { classInternet, recordType } from "../../dns/registry.ts"
import type { TunnelAnswer } from "../../dns/tunnelAnswer.ts"

/** What a CNAME record says. */
export interface Link {
  readonly target: DomainText
  readonly ttl: number
}

/** The chain from the question's name to the first one that `covers` has; `undefined`: it leads to none. */
export const chainToResource = (
  domain: string,
  message: Message,
  covers: (name: string) => boolean
): ReadonlyArray<Link> | undefined => {
  const chain: Array<Link> = []
  let name = canonicalName(domain)
  while (chain.length < maxChain) {
    const alias = message.answers.find(
      (record) =>
        record.type === recordType.CNAME && record.class === classInternet && canonicalName(record.name) === name
    )
    if (alias?.data._tag !== "Name") return undefined
    chain.push({ target: alias.data.name, ttl: alias.ttl })
    name = canonicalName(alias.data.name)
    if (covers(name)) return chain
  }
  return undefined
}

/** The chain, and what the client is told of its end. */
export const endIn = (chain: ReadonlyArray<Link>, end: TunnelAnswer): TunnelAnswer =>
  end._tag === "Dropped"
    ? end
    : chain.reduceRight<typeof end>((answer, link) => ({ _tag: "Alias", ...link, answer }), end)
