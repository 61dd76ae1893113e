{{/*
What the operator may do, verb by verb. Children are applied by server-side apply, which is `patch` (and `create` for an
object that is not there yet); nothing but the garbage collector deletes them.
*/}}
{{- define "tsagg.operatorRules" -}}
- apiGroups: [timestream.dev]
  resources: [timestreamaggregations]
  verbs: [get, list, watch]
# Its own part of the status. It is also what it hands on: nobody may grant a right that they do not hold.
- apiGroups: [timestream.dev]
  resources: [timestreamaggregations/status]
  verbs: [get, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
# Why a recorder is not running is told by its pod, or by the events about a pod or a claim that cannot be.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end -}}
