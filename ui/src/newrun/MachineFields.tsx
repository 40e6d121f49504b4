/** Where it runs: the cluster, the machine type and the GPUs of one experiment. */
import { Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { get } from "@/api/client";
import type { InstanceType } from "@/api/types";
import css from "./newrun.module.css";
import type { FormPart } from "./NewRunForm";
import { NumberField } from "./NumberField";

export function MachineFields({ form, change, problemOf }: FormPart) {
  const clusters = useQuery({ queryKey: ["clusters", "choices"], queryFn: () => get("new-run/clusters") });
  const choices = clusters.data?.clusters ?? [];
  const cluster = form.cluster ?? choices.find((each) => each.default)?.cluster ?? null;
  const types = useQuery({
    queryKey: ["instance-types", cluster],
    queryFn: () => get("instance-types", { query: { cluster } }),
    enabled: cluster !== null,
  });
  const rows = types.data?.instance_types ?? [];
  const option = (row: InstanceType) => ({ value: row.value, label: (form.use_spot && row.spot_label) || row.label });
  const chosen = rows.find((row) => [row.value, row.name, row.cloud].includes(form.instance_type));
  const groups = [
    { group: cluster === "local" ? "Yours" : "There already", items: rows.filter((row) => row.value === "local").map(option) },
    { group: "With GPUs", items: rows.filter((row) => row.value !== "local" && row.gpus > 0).map(option) },
    { group: "CPU only", items: rows.filter((row) => row.value !== "local" && row.gpus === 0).map(option) },
  ];
  return (
    <div className={css.machine}>
      <Select
        label="Cluster"
        data={choices.map((each) => ({ value: each.cluster, label: each.label }))}
        value={cluster}
        onChange={(chosen) => chosen !== null && change({ cluster: chosen })}
        error={problemOf("cluster") ?? (clusters.error ? "The clusters could not be loaded" : undefined)}
        allowDeselect={false}
      />
      <Select
        label="Machine"
        data={groups.filter((group) => group.items.length > 0)}
        value={chosen?.value ?? null}
        onChange={(type) => type !== null && change({ instance_type: type })}
        error={problemOf("instance_type") ?? (types.error ? "The machine types could not be loaded" : undefined)}
        allowDeselect={false}
        searchable
        maxDropdownHeight={340}
      />
      <NumberField
        label="GPUs per experiment"
        placeholder="all of one machine"
        value={form.gpus}
        change={(gpus) => change({ gpus })}
        error={problemOf("gpus")}
        min={0}
      />
    </div>
  );
}
