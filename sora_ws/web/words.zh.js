import { clock, megabytes } from "./numbers.js";

const date = new Intl.DateTimeFormat("zh-CN", { dateStyle: "medium", timeStyle: "short" });

const soon = (seconds) => (seconds ? `${seconds} 秒后再试` : "稍后再试");

export const chinese = {
  tag: "zh-CN",
  otherLanguage: { tag: "en", name: "English" },

  // Who you are
  welcome: "欢迎",
  lead: "写下描述，等来视频；做到哪一步，随时看得见。",
  username: "用户名",
  password: "密码",
  signIn: "登录",
  signingIn: "正在登录",
  signOut: "退出登录",
  sessionOver: "登录已过期，请重新登录。正在生成的视频不受影响。",
  disabled: "该账号已停用，请联系管理员。",
  wrongLogin: "用户名或密码不对。",
  loginMissing: "请填写用户名和密码。",
  firstTime: "第一次使用？服务器首次启动时显示了 admin 的密码。",

  // Header
  connecting: "正在连接",
  connected: "已连接",
  reconnecting: "正在重新连接",
  disconnected: "连接已断开，请刷新页面。",
  offline: "没有网络",
  theme: { auto: "外观：跟随系统", light: "外观：浅色", dark: "外观：深色" },
  simulator:
    "当前画面由内置模拟器生成，仅供测试。设置 SORA_API_BASE_URL 即可接入真实的视频服务。",

  // Composer
  promptHint: "描述一段视频：画面、镜头、光线",
  generate: "生成",
  model: "模型",
  defaultModel: "默认模型",
  otherModel: "其他…",
  size: "尺寸",
  shapes: { landscape: "横屏", portrait: "竖屏", wide: "宽幅", tall: "长幅" },
  length: "时长",
  seconds: (n) => `${n} 秒`,
  image: "图片",
  imageHint: "以一张图片开头：点击选择、拖到这里或直接粘贴",
  dropHere: "松开即可使用这张图片",
  notAnImage: "只支持 JPEG、PNG 和 WebP 图片。",
  promptMissing: "先写下视频里要有什么。",
  startWith: "不妨从这里开始",
  examples: [
    "雨夜的街道上，一只纸船顺水漂流，霓虹倒映在水面，镜头缓缓跟随",
    "特写：钟表匠的手放下一枚细小的齿轮，暖色台灯，光里浮着微尘",
    "晨雾漫过层层梯田，一只白鹭振翅飞起，航拍视角",
  ],
  question: "想看到什么样的视频？",

  // Cards
  progress: "进度",
  sending: "提交中",
  waiting: "排队中",
  rendering: "生成中",
  saving: "保存中",
  inLine: (n) => (n === 1 ? "下一个就是你" : `排在第 ${n} 位`),
  notBegun: "尚未开始",
  left(seconds) {
    if (seconds < 10) return "还需几秒";
    if (seconds < 60) return `约剩 ${Math.round(seconds / 5) * 5} 秒`;
    return `约剩 ${Math.round(seconds / 60)} 分钟`;
  },
  almostThere: "马上就好",
  overdue: (seconds) => `比平时久一些（${clock(seconds)}）`,
  failed: "未能生成",
  cancelled: "已取消",
  expired: "视频已清理",
  expiredWhy: "为给新视频腾出空间，这个视频已被清理。",
  reasons: {
    GENERATION_FAILED: "这个视频没能生成出来。",
    MODERATION_BLOCKED: "内容审核未通过。",
    PROVIDER_REJECTED: "视频服务拒绝了这个请求。",
    PROVIDER_LOST_TASK: "视频服务弄丢了这个任务。",
  },
  retryHelps: "重试或许能成功。",
  retryWontHelp: "原样重试没有用，请先修改描述。",
  cancel: "取消",
  retry: "重试",
  delete: "删除",
  download: "下载",

  // Detail
  close: "关闭",
  copy: "复制",
  copied: "已复制",
  change: "修改后再生成",
  facts: {
    model: "模型",
    size: "尺寸",
    length: "时长",
    file: "文件",
    waited: "排队",
    rendered: "生成用时",
    asked: "提交于",
  },
  megabytes: (bytes) => `${megabytes(bytes)} MB`,
  duration: (seconds) => (seconds < 60 ? `${seconds} 秒` : clock(seconds)),

  // Notes
  deleted: "已删除",
  undo: "撤销",
  started: (prompt) => `开始生成：${prompt}`,
  ready: (prompt) => `可以播放了：${prompt}`,
  ended: (prompt) => `未能得到视频：${prompt}`,
  unreachable: "连不上服务器。你写的内容都还在。",
  tooMany: (seconds) => `操作太频繁，请${soon(seconds)}。`,
  tooBig: "超出服务器允许的大小，请换一张小一点的图片。",
  notAccepted: "服务器不接受这样的内容。",
  gone: "它已经不在了。",
  endedAlready: "它已经结束了。",
  forbidden: "你没有这个权限。",
  away: (seconds) => `服务器暂时无法处理，请${soon(seconds)}。`,
  full: "服务器没有空间存放视频了。",
  broken: (status) => `服务器出了问题（${status}）。`,

  ago(seconds) {
    if (seconds < 60) return "刚刚";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} 分钟前`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} 小时前`;
    return `${Math.floor(seconds / 86400)} 天前`;
  },
  at: (ms) => date.format(ms),
};
