import type { Authorization, Right } from "./Authorization.ts"
import type { Client, ClientId } from "./Client.ts"

/** Who may reach a resource: one for each resource, since pairs of it and a client are hundreds of thousands. */
export interface Grant extends Right {
  /** The same list, as an object, where the same clients have several resources. */
  readonly clients: ReadonlyArray<Client>
}

export const authorizationsOf = ({ clients, expiresAt, resource }: Grant): ReadonlyArray<Authorization> =>
  clients.map((client) => ({ client, resource, expiresAt }))

/** Of each client that has any, in the order of the grants. */
export const rightsByClient = (grants: ReadonlyArray<Grant>): ReadonlyMap<ClientId, ReadonlyArray<Right>> => {
  const rights = new Map<ClientId, Array<Right>>()
  for (const grant of grants) {
    for (const { id } of grant.clients) {
      const known = rights.get(id)
      if (known === undefined) rights.set(id, [grant])
      else known.push(grant)
    }
  }
  return rights
}
