// A page for players: showPlayers puts one on it for each video, all with the same token.
import { createRoot } from 'react-dom/client';
import { VideoPlayer } from './useTaskProgress';

declare global {
  interface Window {
    showPlayers(token: string, videoIds: string[]): void;
  }
}

const root = createRoot(document.getElementById('players')!);

window.showPlayers = (token, videoIds) =>
  root.render(
    videoIds.map((videoId) => (
      <section key={videoId} id={videoId}>
        <VideoPlayer videoId={videoId} token={token} />
      </section>
    )),
  );
