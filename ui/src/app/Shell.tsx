/** Navigation on the left, the page on the right, and a banner while the server is away. */
import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { Database, LayoutList, LogOut, Plus, Server } from "lucide-react";
import { Suspense, useRef, useState, type ReactNode } from "react";
import { useLocation } from "wouter";
import { remove } from "@/api/client";
import { useNewRun, useSearchParams } from "@/common/address";
import { lazyPart } from "@/common/lazyPart";
import { ConnectionBanner, useRecovery } from "./connection";
import { useLinks } from "./links";
import { SchemeSwitch } from "./SchemeSwitch";
import { useSession } from "./session";
import { useActiveRuns } from "./useActiveRuns";
import css from "./Shell.module.css";

const NewRunSheet = lazyPart(() => import("./NewRunSheet"));

export function Shell({ children }: { children: ReactNode }) {
  useRecovery();
  const [location] = useLocation();
  const openNewRun = useNewRun();
  const followLink = useLinks();
  const active = useActiveRuns();
  return (
    <div className={css.shell} onClick={followLink}>
      <a className={css.skip} href="#page">
        Skip to the page
      </a>
      <nav className={css.nav} aria-label="Main">
        <a href="/runs" className={css.brand}>
          <img src="/favicon.svg" alt="" width={22} height={22} />
          OpenGrid
        </a>
        <Button leftSection={<Plus size={14} />} className={css.new} onClick={() => openNewRun()}>
          New run
        </Button>
        <NavLink to="/runs" also="/experiments" icon={<LayoutList size={16} />} label="Runs" count={active} />
        <NavLink to="/machines" icon={<Server size={16} />} label="Machines" />
        <NavLink to="/datastores" icon={<Database size={16} />} label="Datastores" />
        <Foot />
      </nav>
      <main className={css.main} id="page">
        <ConnectionBanner />
        <div className={css.page} key={location}>
          {children}
        </div>
      </main>
      <Sheet />
    </div>
  );
}

/** What the sheet is made of is loaded when it first opens. */
function Sheet() {
  const [search] = useSearchParams();
  const wasOpened = useRef(false);
  wasOpened.current ||= search.get("new") !== null;
  if (!wasOpened.current) return null;
  return (
    <Suspense>
      <NewRunSheet />
    </Suspense>
  );
}

function NavLink({ to, also, icon, label, count = 0 }: { to: string; also?: string; icon: ReactNode; label: string; count?: number }) {
  const [location] = useLocation();
  const isHere = location.startsWith(to) || (also !== undefined && location.startsWith(also));
  return (
    <a href={to} className={css.link} aria-current={isHere ? "page" : undefined}>
      {icon}
      <span>{label}</span>
      {count > 0 && (
        <Tooltip label={`${count} active`}>
          <span className={css.count}>{count}</span>
        </Tooltip>
      )}
    </a>
  );
}

function Foot() {
  const session = useSession();
  const [leaving, setLeaving] = useState(false);
  const signOut = async () => {
    setLeaving(true);
    await remove("session").catch(() => undefined);
    window.location.assign("/");
  };
  return (
    <div className={css.foot}>
      <Tooltip label={`OpenGrid ${session.version} at ${window.location.host}`}>
        <div className={css.who}>
          <span className="ellipsis">{session.user}</span>
          <span className="soft ellipsis">{session.hostname}</span>
        </div>
      </Tooltip>
      <SchemeSwitch />
      <Tooltip label="Sign out">
        <ActionIcon aria-label="Sign out" loading={leaving} onClick={() => void signOut()}>
          <LogOut size={15} />
        </ActionIcon>
      </Tooltip>
    </div>
  );
}
