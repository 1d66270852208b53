/** A resource by which a client's flows go on for a moment, while the one that it stands for becomes another. Pure. */
import { ResourceId } from "./Resource.ts"

/** No control plane has such an id. */
const suffix = " (next)"

export const standInOf = (id: ResourceId): ResourceId => ResourceId.make(`${id}${suffix}`)

/** What operators are told in its place; any other id is what it is. */
export const stoodFor = (id: ResourceId): ResourceId =>
  id.endsWith(suffix) ? ResourceId.make(id.slice(0, -suffix.length)) : id
