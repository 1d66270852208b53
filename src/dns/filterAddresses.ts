import type { Message, ResourceRecord } from "./message.ts"
import { classInternet, recordType } from "./registry.ts"
import { filterHints } from "./serviceHints.ts"

/**
 * Takes the addresses that `keep` refuses out of an upstream answer, in all sections: A and AAAA records, and the hints
 * of HTTPS and SVCB records. An outside name must not lead into a private network. What is changed is no longer what a
 * server has validated (AD). The message itself when nothing is.
 */
export const filterAddresses = (message: Message, keep: (address: string) => boolean): Message => {
  let changed = false
  const kept = (records: ReadonlyArray<ResourceRecord>): ReadonlyArray<ResourceRecord> =>
    records.flatMap((record) => {
      const left = filterRecord(record, keep)
      changed ||= left !== record
      return left === null ? [] : [left]
    })
  const answers = kept(message.answers)
  const authorities = kept(message.authorities)
  const additionals = kept(message.additionals)
  return changed ? { ...message, answers, authorities, additionals, authenticData: false } : message
}

const filterRecord = (record: ResourceRecord, keep: (address: string) => boolean): ResourceRecord | null => {
  const { data } = record
  if (data._tag === "Address") return keep(data.address) ? record : null
  const hinted = record.type === recordType.HTTPS || record.type === recordType.SVCB
  if (!hinted || data._tag !== "Raw" || record.class !== classInternet) return record
  const bytes = filterHints(data.bytes, keep)
  return bytes === null ? null : bytes === data.bytes ? record : { ...record, data: { _tag: "Raw", bytes } }
}
